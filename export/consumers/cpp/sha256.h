// The digest by which a benchmark knows which file was measured.
#pragma once

#include <cstdint>
#include <string>

// In hexadecimal; also how many bytes the file has.
std::string sha256_of(const std::string& path, int64_t* size);
