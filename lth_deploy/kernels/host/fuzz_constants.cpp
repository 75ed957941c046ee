// Fuzz harness of the rules for a node's constants: the input is the file of a node, of which a kernel is made and
// not run. Aborts where a refusal does not say whose it is.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>

#include "mutate.h"
#include "node_file.h"
#include "ort_host.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

using lth::host::Array;
using lth::host::Node;

constexpr int64_t kMostBytes = int64_t{1} << 20;  // of a constant

// Whether an array has as many bytes as its shape says, as ONNX Runtime's always have.
bool is_whole(const Array& array) {
  auto bytes = static_cast<int64_t>(lth::host::width_of(array.type));
  for (int64_t dim : array.dims) {
    if (dim < 0 || dim > kMostBytes) return false;
    bytes *= dim;
    if (bytes > kMostBytes) return false;
  }
  return static_cast<size_t>(bytes) == array.bytes.size();
}

void change_text(Node& node) {
  std::string text = node.text;
  const size_t size = text.size();
  text.resize(size + 64);
  text.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(text.data()), size, text.size()));
  node.text = text;
}

void change_array(Array& array) {
  const size_t width = lth::host::width_of(array.type), size = array.bytes.size();
  const bool fixed = array.dims.size() != 1 || width == 0;
  array.bytes.resize(fixed ? size : size + 16 * width);
  if (array.bytes.empty()) return;
  const size_t found = LLVMFuzzerMutate(array.bytes.data(), size, array.bytes.size());
  array.bytes.resize(fixed ? size : found / width * width);
  if (!fixed) array.dims[0] = static_cast<int64_t>(array.bytes.size() / width);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Node node;
  try {
    node = lth::host::parse_node({reinterpret_cast<const char*>(data), size});
  } catch (const std::runtime_error&) {
    return 0;
  }
  if (node.op != "Region0") return 0;
  for (const Array& array : node.inputs) {
    if (!is_whole(array)) return 0;
  }
  try {
    const lth::host::Kernel kernel(node);
  } catch (const lth::host::Refusal& refusal) {
    if (std::strncmp(refusal.what(), "lth_deploy", 10) != 0) {
      std::cerr << "a message that does not say whose it is: " << refusal.what() << "\n";
      std::abort();
    }
  }
  return 0;
}

// Bytes of a node's file are rarely a node: what changes is its text or one of its arrays.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  Node node;
  try {
    node = lth::host::parse_node({reinterpret_cast<const char*>(data), size});
  } catch (const std::runtime_error&) {
    return LLVMFuzzerMutate(data, size, max_size);
  }
  lth::host::Random random(seed);
  const size_t kind = random() % 4;
  if (kind < 2 || node.inputs.empty()) {
    node = lth::host::mutated(node, random);
  } else if (kind == 2) {
    change_text(node);
  } else {
    change_array(node.inputs[random() % node.inputs.size()]);
  }
  const std::string content = lth::host::node_content(node);
  if (content.size() > max_size) return size;
  std::memcpy(data, content.data(), content.size());
  return content.size();
}
