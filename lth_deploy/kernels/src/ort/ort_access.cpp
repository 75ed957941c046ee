#include "ort/ort_access.h"

#include <memory>

namespace lth::ort {

void check(const Api& api, Status* status) {
  if (!status) return;
  const std::unique_ptr<Status, void (*)(Status*)> owner(status, api.release_status);
  throw Error(api.error_message(status));
}

size_t Tensor::elements() const {
  size_t count = 1;
  for (int64_t dim : dims) count *= static_cast<size_t>(dim);
  return count;
}

Tensor read_tensor(const Api& api, const Value* value) {
  if (!value) throw Error("it is left out");
  TensorInfo* raw = nullptr;
  check(api, api.tensor_info(value, &raw));
  const std::unique_ptr<TensorInfo, void (*)(TensorInfo*)> info(raw, api.release_tensor_info);
  Tensor tensor;
  size_t rank = 0;
  check(api, api.element_type(raw, &tensor.type));
  check(api, api.rank(raw, &rank));
  tensor.dims.resize(rank);
  check(api, api.dimensions(raw, tensor.dims.data(), rank));
  // The function serves readers and writers, and takes no pointer to const.
  check(api, api.tensor_data(const_cast<Value*>(value), &tensor.data));
  return tensor;
}

std::string shape_text(const std::vector<int64_t>& dims) {
  std::string text = "[";
  for (int64_t dim : dims) text += (text.size() > 1 ? ", " : "") + std::to_string(dim);
  return text + "]";
}

std::string string_attribute(const Api& api, const KernelInfo* info, const char* name, size_t limit) {
  size_t size = 0;
  check(api, api.string_attribute(info, name, nullptr, &size));
  if (size > limit + 1)
    throw Error(std::string(name) + ": the attribute has more than " + std::to_string(limit) + " bytes");
  std::string text(size, '\0');
  check(api, api.string_attribute(info, name, text.data(), &size));
  text.resize(size ? size - 1 : 0);
  return text;
}

float float_attribute(const Api& api, const KernelInfo* info, const char* name) {
  float value = 0.f;
  check(api, api.float_attribute(info, name, &value));
  return value;
}

int64_t int_attribute(const Api& api, const KernelInfo* info, const char* name) {
  int64_t value = 0;
  check(api, api.int_attribute(info, name, &value));
  return value;
}

std::string node_name(const Api& api, const KernelInfo* info) {
  size_t size = 0;
  check(api, api.node_name(info, nullptr, &size));
  std::string name(size, '\0');
  check(api, api.node_name(info, name.data(), &size));
  name.resize(size ? size - 1 : 0);
  return name;
}

}  // namespace lth::ort
