// JPEG and PNG files as pixels. Files may come from anyone: what a header claims is checked before memory is taken.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "images.h"

// RGB of the image as it is stored, without regard to EXIF orientation; transparency is dropped. name: of the file, for
// messages. Throws std::runtime_error where it is damaged, cut short, too large, animated or gray with 16 bits.
Image decode_image(const std::vector<uint8_t>& bytes, const std::string& name);

// All bytes of a file; throws.
std::vector<uint8_t> read_bytes(const std::string& path, const std::string& name);
