// The operators Region0 to Region63 and RoiAlign as ONNX Runtime wants them described.
#pragma once

#include "ort/ort_abi.h"

namespace lth {

constexpr int kRegionOps = 64;

// Operator `index`; lives as long as the library.
const ort::CustomOp* region_op(int index);

// The operator RoiAlign; lives as long.
const ort::CustomOp* roi_align_op();

// A status that carries what is being thrown. Call it in a catch clause only.
ort::Status* status_of_exception(const ort::Api& api, const char* place) noexcept;

}  // namespace lth
