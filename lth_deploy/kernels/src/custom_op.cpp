// No exception leaves these functions: they are called through a C ABI.
#include "custom_op.h"

#include <array>
#include <cstdio>
#include <exception>
#include <memory>
#include <new>
#include <string>

#include "ort_access.h"
#include "program.h"
#include "region_kernel.h"

namespace lth {
namespace {

// The fields that ONNX Runtime sees come first.
struct RegionOp : ort::CustomOp {
  std::array<char, 24> text;  // its name
};

ort::Status* create(const ort::CustomOp*, const ort::Api* api, const ort::KernelInfo* info, void** kernel) noexcept {
  *kernel = nullptr;
  std::string name;
  try {
    name = ort::node_name(*api, info);
    *kernel = new RegionKernel(*api, info, name);
    return nullptr;
  } catch (...) {
    return status_of_exception(*api, name.c_str());
  }
}

ort::Status* compute(void* kernel, ort::KernelContext* context) noexcept {
  const RegionKernel& region = *static_cast<const RegionKernel*>(kernel);
  try {
    region.compute(context);
    return nullptr;
  } catch (...) {
    return status_of_exception(region.api(), region.name().c_str());
  }
}

RegionOp describe(int index) {
  RegionOp op{};
  op.version = ort::kCustomOpVersion;
  op.name = [](const ort::CustomOp* self) { return static_cast<const RegionOp*>(self)->text.data(); };
  op.provider = [](const ort::CustomOp*) -> const char* { return nullptr; };
  op.input_type = [](const ort::CustomOp*, size_t) { return ort::kUndefined; };  // activations, positions and values
  op.input_types = [](const ort::CustomOp*) { return size_t{1}; };
  op.output_type = [](const ort::CustomOp*, size_t) { return ort::kFloat; };
  op.output_types = [](const ort::CustomOp*) { return size_t{1}; };
  op.destroy = [](void* kernel) { delete static_cast<RegionKernel*>(kernel); };
  op.input_characteristic = [](const ort::CustomOp*, size_t) { return ort::kVariadic; };
  op.output_characteristic = op.input_characteristic;
  op.input_memory = [](const ort::CustomOp*, size_t) { return 0; };
  op.min_inputs = [](const ort::CustomOp*) { return 1; };
  op.inputs_alike = [](const ort::CustomOp*) { return 0; };
  op.min_outputs = op.min_inputs;
  op.outputs_alike = op.min_inputs;
  op.create_v2 = create;
  op.compute_v2 = compute;
  std::snprintf(op.text.data(), op.text.size(), "Region%d", index);
  return op;
}

std::array<RegionOp, kRegionOps> describe_all() {
  std::array<RegionOp, kRegionOps> ops;
  for (int i = 0; i < kRegionOps; ++i) ops[static_cast<size_t>(i)] = describe(i);
  return ops;
}

}  // namespace

const ort::CustomOp* region_op(int index) {
  static const std::array<RegionOp, kRegionOps> ops = describe_all();
  return &ops.at(static_cast<size_t>(index));
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
