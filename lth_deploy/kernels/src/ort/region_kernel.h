// A region as a kernel of ONNX Runtime: made once from a node's attribute and constants, then called at will.
#pragma once

#include <memory>
#include <string>

#include "ort/ort_abi.h"
#include "plan/region.h"

namespace lth {

class RegionKernel {
 public:
  // Trusts nothing in the node, whose name only serves messages. Throws Error.
  RegionKernel(const ort::Api& api, const ort::KernelInfo* info, std::string name);

  const ort::Api& api() const { return api_; }
  const std::string& name() const { return name_; }
  // Re-entrant. Throws Error where an input does not fit.
  void compute(ort::KernelContext* context) const;

 private:
  const ort::Api& api_;
  std::string name_;
  size_t inputs_ = 0;
  std::unique_ptr<Region> region_;
};

}  // namespace lth
