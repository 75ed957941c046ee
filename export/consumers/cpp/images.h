// What goes in: images as binary PPM, and the classes that a model names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

struct Image {
  int64_t id = 0;
  int64_t height = 0, width = 0;
  std::vector<uint8_t> rgb;  // [height][width][3]
};

struct Entry {
  int64_t id;
  std::string path;
};

// Lines of "ID PATH"; relative paths start at the folder of the list.
std::vector<Entry> read_list(const std::string& path);

// Binary PPM (P6) with 8 bits a channel.
Image read_image(const Entry& entry);

// The data set's category id of each label 1, 2, ... from the metadata text of an export: {"classes": [{"id": 4,
// ...}]}.
std::vector<int64_t> class_ids(const std::string& metadata);
