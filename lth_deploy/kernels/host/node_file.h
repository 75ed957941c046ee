// A node of a model with all its inputs, in the simplest of files: little-endian 64-bit numbers and raw bytes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ort/ort_abi.h"

namespace lth::host {

struct Array {
  ort::ElementType type = ort::kUndefined;
  std::vector<int64_t> dims;
  std::vector<unsigned char> bytes;
};

struct Node {
  std::string op;    // its operator: Region0 or RoiAlign
  std::string text;  // of a region its program, otherwise a line name=value for each attribute
  size_t outputs = 0;
  std::vector<Array> inputs;  // of a region activations, then constants
};

// Bytes of an element; 0 for types that the host does not know.
size_t width_of(ort::ElementType type);

// "lthnode1", operator (length, text), outputs, text (length, text), arrays. Throws std::runtime_error.
Node read_node(const std::string& path);
void write_node(const std::string& path, const Node& node);
// The same for the content of such a file.
Node parse_node(std::string_view content);
std::string node_content(const Node& node);

// Number of arrays, then of each: type, rank, dimensions, number of bytes, bytes.
void write_arrays(const std::string& path, const std::vector<Array>& arrays);

// Texts with the number of inputs of their nodes: (inputs, length, text) until the end of the file.
struct Text {
  int64_t inputs = 0;
  std::string program;
};
std::vector<Text> read_texts(const std::string& path);

}  // namespace lth::host
