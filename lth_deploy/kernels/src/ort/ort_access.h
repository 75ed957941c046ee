// ONNX Runtime's functions with exceptions for statuses and C++ values for out parameters.
#pragma once

#include <string>
#include <vector>

#include "ort/ort_abi.h"
#include "program/program.h"

namespace lth::ort {

// Throws Error with the message of a status that is not null, and releases it.
void check(const Api& api, Status* status);

// A tensor of ONNX Runtime's. `data` stays valid as long as the value that it was read from.
struct Tensor {
  ElementType type = kUndefined;
  std::vector<int64_t> dims;
  void* data = nullptr;

  size_t elements() const;
};

// Throws Error where `value` is null or no tensor.
Tensor read_tensor(const Api& api, const Value* value);

// Dimensions as messages show them: [2, 3].
std::string shape_text(const std::vector<int64_t>& dims);

// The attribute of this name. Throws Error where there is none, or it has more than `limit` bytes.
std::string string_attribute(const Api& api, const KernelInfo* info, const char* name, size_t limit);

// Numbers that a node must have. Throws Error where there is none.
float float_attribute(const Api& api, const KernelInfo* info, const char* name);
int64_t int_attribute(const Api& api, const KernelInfo* info, const char* name);

// Name of the node, possibly empty.
std::string node_name(const Api& api, const KernelInfo* info);

}  // namespace lth::ort
