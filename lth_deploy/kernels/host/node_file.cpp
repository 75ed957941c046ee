#include "node_file.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>

namespace lth::host {
namespace {

constexpr char kMagic[] = "lthnode1";
constexpr char kTooShort[] = "the file ends too early";

// Reads from the left of a file's content. Every length is checked against what is left, so that damage costs no memory.
class Reader {
 public:
  explicit Reader(std::string_view content) : rest_(content) {}

  bool at_end() const { return rest_.empty(); }

  int64_t number() {
    int64_t value = 0;
    const std::string_view found = bytes(sizeof value);
    std::memcpy(&value, found.data(), sizeof value);
    return value;
  }

  size_t size() {
    const int64_t value = number();
    if (value < 0 || static_cast<uint64_t>(value) > rest_.size()) throw std::runtime_error(kTooShort);
    return static_cast<size_t>(value);
  }

  std::string_view bytes(size_t count) {
    if (count > rest_.size()) throw std::runtime_error(kTooShort);
    const std::string_view found = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return found;
  }

  std::string text() { return std::string(bytes(size())); }

  Array array() {
    Array array;
    array.type = static_cast<ort::ElementType>(number());
    array.dims.resize(size());
    for (int64_t& dim : array.dims) dim = number();
    const std::string_view found = bytes(size());
    array.bytes.assign(found.begin(), found.end());
    return array;
  }

 private:
  std::string_view rest_;
};

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write_number(std::ostream& file, int64_t value) {
  file.write(reinterpret_cast<const char*>(&value), sizeof value);
}

void write_text(std::ostream& file, const std::string& text) {
  write_number(file, static_cast<int64_t>(text.size()));
  file << text;
}

void write_all(std::ostream& file, const std::vector<Array>& arrays) {
  write_number(file, static_cast<int64_t>(arrays.size()));
  for (const Array& array : arrays) {
    write_number(file, array.type);
    write_number(file, static_cast<int64_t>(array.dims.size()));
    for (int64_t dim : array.dims) write_number(file, dim);
    write_number(file, static_cast<int64_t>(array.bytes.size()));
    file.write(reinterpret_cast<const char*>(array.bytes.data()), static_cast<std::streamsize>(array.bytes.size()));
  }
}

}  // namespace

size_t width_of(ort::ElementType type) {
  switch (type) {
    case ort::kFloat:
    case ort::kInt32:
      return 4;
    case ort::kInt64:
      return 8;
    case ort::kFloat16:
    case ort::kBfloat16:
      return 2;
    case ort::kUint8:
    case ort::kInt8:
      return 1;
    default:
      return 0;
  }
}

Node parse_node(std::string_view content) {
  Reader reader(content);
  if (reader.bytes(std::min(content.size(), sizeof kMagic - 1)) != kMagic) throw std::runtime_error("no file of a node");
  Node node;
  node.op = reader.text();
  node.outputs = static_cast<size_t>(reader.number());
  node.text = reader.text();
  node.inputs.resize(reader.size());
  for (Array& array : node.inputs) array = reader.array();
  return node;
}

std::string node_content(const Node& node) {
  std::ostringstream file;
  file << kMagic;
  write_text(file, node.op);
  write_number(file, static_cast<int64_t>(node.outputs));
  write_text(file, node.text);
  write_all(file, node.inputs);
  return file.str();
}

Node read_node(const std::string& path) {
  try {
    return parse_node(content_of(path));
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(path + ": " + error.what());
  }
}

void write_node(const std::string& path, const Node& node) {
  std::ofstream(path, std::ios::binary) << node_content(node);
}

void write_arrays(const std::string& path, const std::vector<Array>& arrays) {
  std::ofstream file(path, std::ios::binary);
  write_all(file, arrays);
  if (!file) throw std::runtime_error("cannot write " + path);
}

std::vector<Text> read_texts(const std::string& path) {
  const std::string content = content_of(path);
  Reader reader(content);
  std::vector<Text> texts;
  while (!reader.at_end()) {
    Text text;
    text.inputs = reader.number();
    text.program = reader.text();
    texts.push_back(std::move(text));
  }
  return texts;
}

}  // namespace lth::host
