// Files that a host keeps on its board under their SHA-256.
#pragma once

#include <string>
#include <vector>

#include "wire.h"

// Both return the fields of a reply, and throw std::runtime_error.
// missing FOLDER DIGEST...: those that are not there whole, and the bytes that are free.
std::string missing_files(const std::vector<std::string>& words);
// store FOLDER DIGEST BYTES, followed by the bytes: a file that is there once it is whole.
std::string store_file(const Request& request);
