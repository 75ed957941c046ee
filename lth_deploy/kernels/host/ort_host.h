// ONNX Runtime's part, played by ourselves: a table of functions that registers the library, makes a kernel from a
// node and runs it, where sanitizers see every byte.
#pragma once

#include <stdexcept>
#include <vector>

#include "node_file.h"

namespace lth::host {

// What the library returned instead of success.
class Refusal : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Kernel of one node; `node` must outlive it.
class Kernel {
 public:
  // Throws Refusal.
  explicit Kernel(const Node& node);
  ~Kernel();
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  // Outputs for the node's activations, computed with this many threads. May be called at once from many.
  // Throws Refusal.
  std::vector<Array> run(int threads) const;

 private:
  const Node& node_;
  const ort::CustomOp* op_;
  void* kernel_ = nullptr;
};

// Registers with an ONNX Runtime of this version of the API. Throws Refusal.
void register_with(uint32_t version);

}  // namespace lth::host
