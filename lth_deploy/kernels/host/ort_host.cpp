#include "ort_host.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <thread>

#include "attributes.h"

// What the library only holds by pointer.
namespace lth::ort {

struct Status {
  std::string message;
};

struct CustomOpDomain {
  std::string name;
  std::vector<const CustomOp*> ops;
};

struct SessionOptions {
  CustomOpDomain* domain = nullptr;
};

struct KernelInfo {
  const host::Node* node;
};

struct Value {
  host::Array* array;
};

struct TensorInfo {
  const host::Array* array;
};

struct KernelContext {
  std::vector<Value> inputs;
  std::vector<host::Array> results;
  std::vector<Value> outputs;
  int threads = 1;
};

}  // namespace lth::ort

extern "C" lth::ort::Status* RegisterCustomOps(lth::ort::SessionOptions* options, const lth::ort::ApiBase* base);

namespace lth::host {
namespace {

using namespace ort;  // NOLINT: this file is about nothing else

constexpr double kMaxElements = 1 << 25;  // of an output: what the oracle computes at most

Status* refuse(const char* message) { return new Status{message}; }

Status* create_domain(const char* name, CustomOpDomain** out) {
  *out = new CustomOpDomain{name, {}};
  return nullptr;
}

Status* domain_add(CustomOpDomain* domain, const CustomOp* op) {
  domain->ops.push_back(op);
  return nullptr;
}

Status* options_add_domain(SessionOptions* options, CustomOpDomain* domain) {
  options->domain = domain;
  return nullptr;
}

// ONNX Runtime's way to hand out text: once for the size, once for the bytes.
Status* copy_text(const std::string& text, char* out, size_t* size) {
  const size_t needed = text.size() + 1;
  if (out && *size < needed) return refuse("the buffer is too small");
  if (out) std::memcpy(out, text.c_str(), needed);
  *size = needed;
  return nullptr;
}

Status* string_attribute(const KernelInfo* info, const char* name, char* out, size_t* size) {
  try {
    return copy_text(string_of(*info->node, name), out, size);
  } catch (const std::runtime_error& error) {
    return refuse(error.what());
  }
}

Status* int_attribute(const KernelInfo* info, const char* name, int64_t* out) {
  try {
    *out = int_of(*info->node, name);
    return nullptr;
  } catch (const std::runtime_error& error) {
    return refuse(error.what());
  }
}

Status* float_attribute(const KernelInfo* info, const char* name, float* out) {
  try {
    *out = float_of(*info->node, name);
    return nullptr;
  } catch (const std::runtime_error& error) {
    return refuse(error.what());
  }
}

Status* node_name(const KernelInfo*, char* out, size_t* size) { return copy_text("a node", out, size); }

Status* input_count(const KernelInfo* info, size_t* out) {
  *out = info->node->inputs.size();
  return nullptr;
}

Status* output_count(const KernelInfo* info, size_t* out) {
  *out = info->node->outputs;
  return nullptr;
}

// The values of constants, made on first use, stay alive: ONNX Runtime's do as well.
Status* constant_input(const KernelInfo* info, size_t index, int* is_constant, const Value** out) {
  static thread_local std::vector<std::unique_ptr<Value>> values;
  if (values.size() > 4096) values.clear();
  if (index >= info->node->inputs.size()) return refuse("no such input");
  values.push_back(std::make_unique<Value>(Value{const_cast<Array*>(&info->node->inputs[index])}));
  *is_constant = 1;
  *out = values.back().get();
  return nullptr;
}

Status* tensor_info(const Value* value, TensorInfo** out) {
  *out = new TensorInfo{value->array};
  return nullptr;
}

Status* element_type(const TensorInfo* info, ElementType* out) {
  *out = info->array->type;
  return nullptr;
}

Status* rank(const TensorInfo* info, size_t* out) {
  *out = info->array->dims.size();
  return nullptr;
}

Status* dimensions(const TensorInfo* info, int64_t* out, size_t count) {
  std::copy_n(info->array->dims.begin(), std::min(count, info->array->dims.size()), out);
  return nullptr;
}

Status* tensor_data(Value* value, void** out) {
  *out = value->array->bytes.data();
  return nullptr;
}

Status* input(const KernelContext* context, size_t index, const Value** out) {
  if (index >= context->inputs.size()) return refuse("no such input");
  *out = &context->inputs[index];
  return nullptr;
}

Status* output(KernelContext* context, size_t index, const int64_t* dims, size_t rank, Value** out) {
  if (index >= context->outputs.size()) return refuse("no such output");
  Array& array = context->results[index];
  array.type = kFloat;
  array.dims.assign(dims, dims + rank);
  double elements = 1;
  for (int64_t dim : array.dims) elements *= static_cast<double>(dim);
  if (!(elements <= kMaxElements)) return refuse("there is no memory for the output");
  array.bytes.assign(4 * static_cast<size_t>(elements), 0xAB);  // never what a kernel forgot to write
  *out = &context->outputs[index];
  return nullptr;
}

Status* parallel_for(const KernelContext* context, void (*fn)(void*, size_t), size_t total, size_t, void* user) {
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < total; i = next++) fn(user, i);
  };
  std::vector<std::thread> helpers;
  const size_t threads = std::min(static_cast<size_t>(context->threads), total);
  for (size_t i = 1; i < threads; ++i) helpers.emplace_back(work);
  work();
  for (std::thread& helper : helpers) helper.join();
  return nullptr;
}

const Api& api() {
  static const Api table = [] {
    Api api{};
    api.create_status = [](ErrorCode, const char* message) { return new Status{message}; };
    api.error_message = [](const Status* status) { return status->message.c_str(); };
    api.release_status = [](Status* status) { delete status; };
    api.create_domain = create_domain;
    api.domain_add = domain_add;
    api.options_add_domain = options_add_domain;
    api.tensor_data = tensor_data;
    api.element_type = element_type;
    api.rank = rank;
    api.dimensions = dimensions;
    api.tensor_info = tensor_info;
    api.float_attribute = float_attribute;
    api.int_attribute = int_attribute;
    api.string_attribute = string_attribute;
    api.input = input;
    api.output = output;
    api.release_tensor_info = [](TensorInfo* info) { delete info; };
    api.input_count = input_count;
    api.output_count = output_count;
    api.node_name = node_name;
    api.constant_input = constant_input;
    api.parallel_for = parallel_for;
    return api;
  }();
  return table;
}

uint32_t offered_version = 0;

const CustomOpDomain& register_library(uint32_t version) {
  offered_version = version;
  const ApiBase base{[](uint32_t wanted) -> const Api* { return wanted <= offered_version ? &api() : nullptr; },
                     []() { return "0.0 of the host"; }};
  SessionOptions options;
  if (Status* status = RegisterCustomOps(&options, &base)) {
    const std::unique_ptr<Status> owner(status);
    throw Refusal(status->message);
  }
  if (!options.domain || options.domain->name != "com.lth_deploy") throw std::runtime_error("no domain was added");
  return *options.domain;
}

const CustomOp* op_of(const std::string& name) {
  static const CustomOpDomain& domain = register_library(kApiVersion);
  for (const CustomOp* op : domain.ops) {
    if (name == op->name(op)) return op;
  }
  throw std::runtime_error("the library has no operator " + name);
}

void check(Status* status) {
  if (!status) return;
  const std::unique_ptr<Status> owner(status);
  throw Refusal(status->message);
}

}  // namespace

void register_with(uint32_t version) { register_library(version); }

Kernel::Kernel(const Node& node) : node_(node), op_(op_of(node.op)) {
  const KernelInfo info{&node};
  check(op_->create_v2(op_, &api(), &info, &kernel_));
}

Kernel::~Kernel() { op_->destroy(kernel_); }

std::vector<Array> Kernel::run(int threads) const {
  KernelContext context;
  for (const Array& array : node_.inputs) context.inputs.push_back({const_cast<Array*>(&array)});
  context.results.resize(node_.outputs);
  for (Array& array : context.results) context.outputs.push_back({&array});
  context.threads = threads;
  check(op_->compute_v2(kernel_, &context));
  return std::move(context.results);
}

}  // namespace lth::host
