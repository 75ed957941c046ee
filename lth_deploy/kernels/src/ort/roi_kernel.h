// RoiAlign as a kernel of ONNX Runtime: made once from a node's attributes, then called at will.
#pragma once

#include <string>

#include "execute/roi_align.h"
#include "ort/ort_abi.h"

namespace lth {

class RoiKernel {
 public:
  // Trusts nothing in the node, whose name only serves messages. Throws Error.
  RoiKernel(const ort::Api& api, const ort::KernelInfo* info, std::string name);

  const ort::Api& api() const { return api_; }
  const std::string& name() const { return name_; }
  // Re-entrant. Throws Error where an input does not fit.
  void compute(ort::KernelContext* context) const;

 private:
  const ort::Api& api_;
  std::string name_, isa_;
  RoiAlign how_;
};

}  // namespace lth
