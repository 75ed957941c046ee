// How the shapes of an instruction's result follow from those of its arguments.
#pragma once

#include <string>
#include <vector>

#include "plan/plan.h"

namespace lth {

// The shape rules of one instruction, whose arguments have their shapes already.
class ShapeRules {
 public:
  ShapeRules(const std::vector<Shape>& inputs, const std::vector<TensorPlan>& tensors, int instr, int grid_y)
      : inputs_(inputs), tensors_(tensors), instr_(instr), grid_y_(grid_y) {}

  const Shape& input(int index) const { return inputs_[index]; }
  const TensorPlan& tensor(int index) const { return tensors_[index]; }

  // Throws Error: "region: tN: what".
  [[noreturn]] void refuse(const std::string& what) const;
  // Throws Error where a tensor of this size is empty or too large.
  void limit(int64_t n, int64_t channels, int64_t H, int64_t W) const;
  // Throws Error where t differs from another tensor in batch, height or width.
  void match(const TensorPlan& t, int other) const;

  PlaneShape plane(int H, int W) const { return plane_of(H, W, grid_y_); }
  PlaneShape rows(int n) const { return plane_of_rows(n, grid_y_); }
  // The plane that a window makes of x.
  PlaneShape windowed(const PlaneShape& x, const Window& window) const;

 private:
  int size(int in, int kernel, int stride, int pads, int dilation) const;

  const std::vector<Shape>& inputs_;
  const std::vector<TensorPlan>& tensors_;
  int instr_;
  int grid_y_;
};

// Shape rule of convolutions and pools.
void windowed_shape(const ShapeRules&, const Instr&, TensorPlan&);

// The tensors of a plan. Throws Error where the inputs do not fit the program.
std::vector<TensorPlan> infer_shapes(const Program&, const std::vector<Shape>& inputs, int grid_y);

}  // namespace lth
