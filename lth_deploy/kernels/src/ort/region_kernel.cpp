#include "ort/region_kernel.h"

#include <utility>
#include <vector>

#include "environment.h"
#include "ort/ort_access.h"
#include "ort/ort_threads.h"
#include "program/constant_checks.h"
#include "program/program.h"
#include "program/stored_values.h"
#include "program/weights.h"

namespace lth {
namespace {

constexpr size_t kMaxText = size_t{1} << 20;

[[noreturn]] void fail_at(const char* what, size_t index, const std::string& found) {
  throw Error(std::string(what) + " " + std::to_string(index) + ": " + found);
}

const char* name_of(ort::ElementType type) {
  switch (type) {
    case ort::kFloat: return "float32";
    case ort::kFloat16: return "float16";
    case ort::kBfloat16: return "bfloat16";
    case ort::kInt8: return "int8";
    case ort::kInt32: return "int32";
    default: return "uint8";
  }
}

ort::ElementType element_type(ValueType type) {
  switch (type) {
    case ValueType::kFloat: return ort::kFloat;
    case ValueType::kHalf: return ort::kFloat16;
    case ValueType::kBfloat: return ort::kBfloat16;
    case ValueType::kInt8: return ort::kInt8;
    case ValueType::kInt32: return ort::kInt32;
  }
  return ort::kUndefined;
}

// Input `index` of the node, which must be a constant of the model with this type and (unless empty) these dimensions.
ort::Tensor constant(const ort::Api& api, const ort::KernelInfo* info, int index, ort::ElementType type,
                     const std::vector<int64_t>& dims) {
  const auto at = static_cast<size_t>(index);
  int is_constant = 0;
  const ort::Value* value = nullptr;
  ort::check(api, api.constant_input(info, at, &is_constant, &value));
  if (!is_constant) fail_at("input", at, "it holds a part of a weight and is no constant of the model");
  ort::Tensor tensor = ort::read_tensor(api, value);
  if (tensor.type != type) {
    fail_at("input", at, std::string("the program reads ") + name_of(type) + ", the constant has another type");
  }
  const bool fits = dims.empty() ? tensor.dims.size() == 1 : tensor.dims == dims;
  if (!fits) {
    fail_at("input", at,
            "the constant has the shape " + ort::shape_text(tensor.dims) + " instead of " +
                (dims.empty() ? "one dimension" : ort::shape_text(dims)));
  }
  return tensor;
}

Weight read_weight(const ort::Api& api, const ort::KernelInfo* info, const WeightDecl& decl) {
  const bool dense = decl.coding == Coding::kDense;
  Bytes positions;
  if (!dense) {
    const ort::Tensor tensor = constant(api, info, decl.positions_input, ort::kUint8, {});
    positions = {tensor.data, tensor.elements()};
  }
  const ort::ElementType type = element_type(decl.type);
  const ort::Tensor tensor = constant(api, info, decl.values_input, type, dense ? decl.dims : std::vector<int64_t>());
  return decode_weight(decl, positions, {tensor.data, tensor.elements() * width_of(decl.type)});
}

std::vector<Weight> read_weights(const ort::Api& api, const ort::KernelInfo* info, const Program& program) {
  std::vector<Weight> weights;
  weights.reserve(program.weights.size());
  for (const WeightDecl& decl : program.weights) {
    try {
      weights.push_back(read_weight(api, info, decl));
    } catch (const Error& error) {
      fail_at("weight", weights.size(), error.what());
    }
  }
  return weights;
}

Shape shape_of(const ort::Tensor& tensor) {
  if (tensor.type != ort::kFloat) throw Error("it is not float32");
  if (tensor.dims.size() < 2 || tensor.dims.size() > 4) {
    throw Error("its shape " + ort::shape_text(tensor.dims) + " has neither 4 dimensions nor, for rows, 2 or 3");
  }
  Shape shape;
  shape.rank = static_cast<int>(tensor.dims.size());
  for (size_t i = 0; i < tensor.dims.size(); ++i) shape.dims[i] = tensor.dims[i];
  return shape;
}

}  // namespace

RegionKernel::RegionKernel(const ort::Api& api, const ort::KernelInfo* info, std::string name)
    : api_(api), name_(std::move(name)) {
  size_t inputs = 0, outputs = 0;
  ort::check(api, api.input_count(info, &inputs));
  ort::check(api, api.output_count(info, &outputs));
  const std::string text = ort::string_attribute(api, info, "program", kMaxText);
  // More inputs than any program can read: no need to tell how many.
  Program program = parse_program(text, static_cast<int>(inputs < 1u << 20 ? inputs : 1u << 20));
  if (program.outputs.size() != outputs) {
    throw Error("program: it has " + std::to_string(program.outputs.size()) + " outputs and the node has " +
                std::to_string(outputs));
  }
  inputs_ = static_cast<size_t>(program.inputs);
  std::vector<Weight> weights = read_weights(api, info, program);
  check_constants(program, weights);
  region_ = make_region(std::move(program), std::move(weights), from_environment("LTH_ISA"),
                        from_environment("LTH_TUNING"));
}

void RegionKernel::compute(ort::KernelContext* context) const {
  std::vector<Shape> shapes;
  std::vector<const float*> inputs;
  for (size_t i = 0; i < inputs_; ++i) {
    const ort::Value* value = nullptr;
    ort::check(api_, api_.input(context, i, &value));
    try {
      const ort::Tensor tensor = ort::read_tensor(api_, value);
      shapes.push_back(shape_of(tensor));
      inputs.push_back(static_cast<const float*>(tensor.data));
    } catch (const Error& error) {
      fail_at("input", i, error.what());
    }
  }
  const std::vector<Shape> made = region_->output_shapes(shapes);
  std::vector<float*> outputs;
  for (size_t i = 0; i < made.size(); ++i) {
    ort::Value* value = nullptr;
    ort::check(api_, api_.output(context, i, made[i].dims.data(), static_cast<size_t>(made[i].rank), &value));
    if (!value) fail_at("output", i, "it is left out");
    void* data = nullptr;
    ort::check(api_, api_.tensor_data(value, &data));
    outputs.push_back(static_cast<float*>(data));
  }
  ort::Threads parallel(api_, context);
  region_->run(shapes, inputs, outputs, parallel);
}

}  // namespace lth
