// No exception leaves these functions: they are called through a C ABI.
#include "ort/custom_op.h"

#include <array>
#include <cstdio>
#include <exception>
#include <memory>
#include <new>
#include <string>

#include "ort/ort_access.h"
#include "ort/region_kernel.h"
#include "ort/roi_kernel.h"
#include "program/program.h"

namespace lth {
namespace {

// The fields that ONNX Runtime sees come first.
struct RegionOp : ort::CustomOp {
  std::array<char, 24> text;  // its name
};

template <class Kernel>
ort::Status* create(const ort::CustomOp*, const ort::Api* api, const ort::KernelInfo* info, void** kernel) noexcept {
  *kernel = nullptr;
  std::string name;
  try {
    name = ort::node_name(*api, info);
    *kernel = new Kernel(*api, info, name);
    return nullptr;
  } catch (...) {
    return status_of_exception(*api, name.c_str());
  }
}

template <class Kernel>
ort::Status* compute(void* kernel, ort::KernelContext* context) noexcept {
  const Kernel& made = *static_cast<const Kernel*>(kernel);
  try {
    made.compute(context);
    return nullptr;
  } catch (...) {
    return status_of_exception(made.api(), made.name().c_str());
  }
}

// What all operators agree in; one float32 output unless an operator states otherwise.
template <class Kernel>
void describe(ort::CustomOp& op) {
  op.version = ort::kCustomOpVersion;
  op.provider = [](const ort::CustomOp*) -> const char* { return nullptr; };
  op.output_type = [](const ort::CustomOp*, size_t) { return ort::kFloat; };
  op.output_types = [](const ort::CustomOp*) { return size_t{1}; };
  op.destroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  op.input_characteristic = [](const ort::CustomOp*, size_t) { return ort::kRequired; };
  op.output_characteristic = op.input_characteristic;
  op.input_memory = [](const ort::CustomOp*, size_t) { return 0; };
  op.min_inputs = [](const ort::CustomOp*) { return 1; };
  op.inputs_alike = [](const ort::CustomOp*) { return 0; };
  op.min_outputs = op.min_inputs;
  op.outputs_alike = op.min_inputs;
  op.create_v2 = create<Kernel>;
  op.compute_v2 = compute<Kernel>;
}

RegionOp describe_region(int index) {
  RegionOp op{};
  describe<RegionKernel>(op);
  op.name = [](const ort::CustomOp* self) { return static_cast<const RegionOp*>(self)->text.data(); };
  op.input_type = [](const ort::CustomOp*, size_t) { return ort::kUndefined; };  // activations, positions and values
  op.input_types = [](const ort::CustomOp*) { return size_t{1}; };
  op.input_characteristic = [](const ort::CustomOp*, size_t) { return ort::kVariadic; };
  op.output_characteristic = op.input_characteristic;
  std::snprintf(op.text.data(), op.text.size(), "Region%d", index);
  return op;
}

ort::CustomOp describe_roi_align() {
  ort::CustomOp op{};
  describe<RoiKernel>(op);
  op.name = [](const ort::CustomOp*) { return "RoiAlign"; };
  op.input_type = [](const ort::CustomOp*, size_t i) { return i == 2 ? ort::kInt64 : ort::kFloat; };
  op.input_types = [](const ort::CustomOp*) { return size_t{3}; };
  return op;
}

std::array<RegionOp, kRegionOps> describe_all() {
  std::array<RegionOp, kRegionOps> ops;
  for (int i = 0; i < kRegionOps; ++i) ops[static_cast<size_t>(i)] = describe_region(i);
  return ops;
}

}  // namespace

const ort::CustomOp* region_op(int index) {
  static const std::array<RegionOp, kRegionOps> ops = describe_all();
  return &ops.at(static_cast<size_t>(index));
}

const ort::CustomOp* roi_align_op() {
  static const ort::CustomOp op = describe_roi_align();
  return &op;
}

ort::Status* status_of_exception(const ort::Api& api, const char* place) noexcept {
  try {
    const std::string start = *place ? "lth_deploy, node '" + std::string(place) + "': " : "lth_deploy: ";
    try {
      throw;
    } catch (const Error& error) {
      return api.create_status(ort::kInvalidArgument, (start + error.what()).c_str());
    } catch (const std::bad_alloc&) {
      return api.create_status(ort::kFail, (start + "out of memory").c_str());
    } catch (const std::exception& error) {
      return api.create_status(ort::kFail, (start + error.what()).c_str());
    } catch (...) {
      return api.create_status(ort::kFail, (start + "an unknown error").c_str());
    }
  } catch (...) {
    return api.create_status(ort::kFail, "lth_deploy: out of memory");
  }
}

}  // namespace lth
