#include "node_file.h"

#include <fstream>
#include <stdexcept>

namespace lth::host {
namespace {

constexpr char kMagic[] = "lthnode1";

class Reader {
 public:
  explicit Reader(const std::string& path) : file_(path, std::ios::binary) {
    if (!file_) throw std::runtime_error("cannot read " + path);
  }

  bool at_end() { return file_.peek() == std::ifstream::traits_type::eof(); }

  int64_t number() {
    int64_t value = 0;
    bytes(reinterpret_cast<char*>(&value), sizeof value);
    return value;
  }

  size_t size() { return static_cast<size_t>(number()); }

  void bytes(char* to, size_t count) {
    if (!file_.read(to, static_cast<std::streamsize>(count))) throw std::runtime_error("the file ends too early");
  }

  std::string text() {
    std::string found(size(), '\0');
    bytes(found.data(), found.size());
    return found;
  }

  Array array() {
    Array array;
    array.type = static_cast<ort::ElementType>(number());
    array.dims.resize(size());
    for (int64_t& dim : array.dims) dim = number();
    array.bytes.resize(size());
    bytes(reinterpret_cast<char*>(array.bytes.data()), array.bytes.size());
    return array;
  }

 private:
  std::ifstream file_;
};

void write_number(std::ofstream& file, int64_t value) {
  file.write(reinterpret_cast<const char*>(&value), sizeof value);
}

void write_text(std::ofstream& file, const std::string& text) {
  write_number(file, static_cast<int64_t>(text.size()));
  file << text;
}

void write_all(std::ofstream& file, const std::vector<Array>& arrays) {
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
      return 2;
    case ort::kUint8:
    case ort::kInt8:
      return 1;
    default:
      return 0;
  }
}

Node read_node(const std::string& path) {
  Reader reader(path);
  std::string magic(sizeof kMagic - 1, '\0');
  reader.bytes(magic.data(), magic.size());
  if (magic != kMagic) throw std::runtime_error(path + " is no file of a node");
  Node node;
  node.op = reader.text();
  node.outputs = reader.size();
  node.text = reader.text();
  node.inputs.resize(reader.size());
  for (Array& array : node.inputs) array = reader.array();
  return node;
}

void write_node(const std::string& path, const Node& node) {
  std::ofstream file(path, std::ios::binary);
  file << kMagic;
  write_text(file, node.op);
  write_number(file, static_cast<int64_t>(node.outputs));
  write_text(file, node.text);
  write_all(file, node.inputs);
}

void write_arrays(const std::string& path, const std::vector<Array>& arrays) {
  std::ofstream file(path, std::ios::binary);
  write_all(file, arrays);
  if (!file) throw std::runtime_error("cannot write " + path);
}

std::vector<Text> read_texts(const std::string& path) {
  Reader reader(path);
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
