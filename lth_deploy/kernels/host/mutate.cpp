#include "mutate.h"

#include <algorithm>
#include <cctype>
#include <sstream>

namespace lth::host {
namespace {

constexpr size_t kMostBytes = size_t{1} << 20;  // of an array that grows

size_t below(Random& random, size_t count) { return count ? random() % count : 0; }

const char* odd_number(Random& random) {
  static const char* const kNumbers[] = {"0",     "1",     "2",          "3",          "4",
                                         "7",     "15",    "16",         "64",         "65536",
                                         "65537", "-1",    "2147483647", "4294967296", "9223372036854775807",
                                         "007",   "1e99",  "nan",        "",           "99999999999999999999",
                                         "0.5",   "1e-46", "8",          "32"};
  return kNumbers[below(random, sizeof kNumbers / sizeof kNumbers[0])];
}

// Replaces one of the numbers in the text.
void change_number(std::string& text, Random& random) {
  std::vector<size_t> starts;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool digit = std::isdigit(static_cast<unsigned char>(text[i]));
    if (digit && (i == 0 || !std::isdigit(static_cast<unsigned char>(text[i - 1])))) starts.push_back(i);
  }
  if (starts.empty()) return;
  const size_t start = starts[below(random, starts.size())];
  size_t end = start;
  while (end < text.size() && std::isdigit(static_cast<unsigned char>(text[end]))) ++end;
  text.replace(start, end - start, odd_number(random));
}

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// Drops, doubles or swaps lines.
void change_lines(std::string& text, Random& random) {
  std::vector<std::string> lines = lines_of(text);
  if (lines.empty()) return;
  const size_t at = below(random, lines.size());
  const auto place = lines.begin() + static_cast<std::ptrdiff_t>(at);
  switch (below(random, 3)) {
    case 0:
      lines.erase(place);
      break;
    case 1:
      lines.insert(place, lines[at]);
      break;
    default:
      std::swap(lines[at], lines[below(random, lines.size())]);
  }
  text.clear();
  for (const std::string& line : lines) text += line + "\n";
}

// Replaces a field by one from elsewhere in the text.
void change_field(std::string& text, Random& random) {
  std::vector<std::pair<size_t, size_t>> fields;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find_first_of(" \n", start), text.size());
    fields.emplace_back(start, end - start);
    start = end + 1;
  }
  if (fields.empty()) return;
  const auto [from, length] = fields[below(random, fields.size())];
  const auto [to, replaced] = fields[below(random, fields.size())];
  text.replace(to, replaced, text.substr(from, length));
}

void change_byte(std::string& text, Random& random) {
  if (text.empty()) return;
  const size_t at = below(random, text.size());
  switch (below(random, 3)) {
    case 0:
      text[at] = static_cast<char>(random());
      break;
    case 1:
      text.erase(at, 1 + below(random, 8));
      break;
    default:
      text.insert(at, 1, static_cast<char>(32 + below(random, 96)));
  }
}

// Only arrays of one dimension change their length here: others have as many bytes as their shape says.
void resize(Array& array, size_t values, unsigned char filler) {
  if (array.dims.size() != 1) return;
  array.bytes.resize(values * width_of(array.type), filler);
  array.dims[0] = static_cast<int64_t>(values);
}

// Bits, bytes, whole values; length of what has one dimension.
void change_bytes(Array& array, Random& random) {
  if (array.bytes.empty()) return;
  const size_t at = below(random, array.bytes.size());
  const size_t width = std::max<size_t>(width_of(array.type), 1);
  switch (below(random, 5)) {
    case 0:
      array.bytes[at] ^= static_cast<unsigned char>(1u << below(random, 8));
      break;
    case 1:
      array.bytes[at] = static_cast<unsigned char>(random());
      break;
    case 2:  // zero, infinity or not a number, depending on the type
      for (size_t i = at / width * width; i < at / width * width + width; ++i) {
        array.bytes[i] = below(random, 2) ? 0xFF : 0x00;
      }
      break;
    case 3:
      resize(array, at / width, 0);
      break;
    default:
      resize(array, array.bytes.size() / width + 1 + below(random, 64), static_cast<unsigned char>(random()));
  }
}

// Other dimensions, with as many bytes as they need: ONNX Runtime never hands out less.
void change_shape(Array& array, Random& random) {
  if (array.dims.empty()) return;
  switch (below(random, 4)) {
    case 0:
      std::swap(array.dims[0], array.dims[below(random, array.dims.size())]);
      break;
    case 1:
      array.dims[below(random, array.dims.size())] = static_cast<int64_t>(below(random, 40));
      break;
    case 2:
      array.dims.push_back(1);
      break;
    default:
      array.dims.pop_back();
  }
  size_t bytes = width_of(array.type);
  for (int64_t dim : array.dims) {
    bytes = dim == 0 ? 0 : bytes * static_cast<size_t>(dim);
    if (bytes > kMostBytes) {
      array.dims.assign(1, 1);
      bytes = width_of(array.type);
      break;
    }
  }
  array.bytes.resize(bytes, 0x3F);
}

void change_type(Array& array, Random& random) {
  static const ort::ElementType kTypes[] = {ort::kFloat, ort::kFloat16, ort::kBfloat16, ort::kUint8,
                                             ort::kInt8,  ort::kInt32,   ort::kInt64};
  array.type = kTypes[below(random, sizeof kTypes / sizeof kTypes[0])];
  size_t bytes = width_of(array.type);
  for (int64_t dim : array.dims) bytes *= static_cast<size_t>(dim);
  array.bytes.resize(bytes);
}

void change(Node& node, Random& random) {
  Array* const array = node.inputs.empty() ? nullptr : &node.inputs[below(random, node.inputs.size())];
  switch (below(random, 16)) {
    case 0:
    case 1:
    case 2:
      return change_number(node.text, random);
    case 3:
      return change_lines(node.text, random);
    case 4:
    case 5:
      return change_field(node.text, random);
    case 6:
      return change_byte(node.text, random);
    case 7:
      node.outputs = below(random, 66);
      return;
    case 8:
      node.inputs.resize(below(random, node.inputs.size() + 1));
      return;
    case 9:
      if (array) std::swap(*array, node.inputs[below(random, node.inputs.size())]);
      return;
    case 10:
      if (array) change_type(*array, random);
      return;
    case 11:
    case 12:
      if (array) change_shape(*array, random);
      return;
    default:
      if (array) change_bytes(*array, random);
  }
}

}  // namespace

Node mutated(const Node& node, Random& random) {
  Node result = node;
  // Most single changes are refused at once; several together rarely get further, so one is the rule.
  const size_t changes = below(random, 4) ? 1 : 1 + below(random, 4);
  for (size_t i = 0; i < changes; ++i) change(result, random);
  return result;
}

}  // namespace lth::host
