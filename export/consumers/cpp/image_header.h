// What a JPEG or PNG file says of itself, and whether it is whole.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

struct ImageHeader {
  int64_t width = 0, height = 0;
};

// Reads all segments or chunks but no pixels. name: of the file, for messages. Throws std::runtime_error.
ImageHeader read_image_header(const std::vector<uint8_t>& bytes, const std::string& name);
