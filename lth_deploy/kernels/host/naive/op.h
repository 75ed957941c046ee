// The oracle of an operator, defined in one file of the folder operators for each entry of ops/list.h: a missing one does not link.
#pragma once

#include <cmath>
#include <vector>

#include "ops/op.h"
#include "program/weights.h"
#include "region.h"
#include "shapes.h"
#include "tensor.h"

namespace lth {

constexpr double kFloatError = 1e-4;  // of sums of float32, relative to the largest magnitude that was seen

// One run of the oracle, as its operators see it.
class NaiveRun {
 public:
  NaiveRun(const Program& program, const std::vector<Weight>& weights, const std::vector<const float*>& inputs)
      : program_(program), weights_(weights), inputs_(inputs) {}

  // Runs all instructions, whose results have these planes.
  void all(const std::vector<Plane>& planes);

  const NaiveTensor& tensor(int index) const { return tensors_[index]; }
  const Weight& weight(int index) const { return weights_[index]; }
  const float* input(int index) const { return inputs_[index]; }
  bool bf16(int weight) const { return program_.weights[weight].type == ValueType::kBfloat; }
  const Quantization& quantization(int tensor) const { return program_.instrs[tensor].quantization; }

  // The largest magnitude so far, with which rounding errors grow.
  double scale() const { return scale_; }
  void seen(double x) {
    if (!std::isnan(scale_) && !(std::fabs(x) <= scale_)) scale_ = std::fabs(x);  // a NaN stays
  }

  // Throws TooLarge where the multiplications of the run would take a test too long.
  void work(double multiplications);

 private:
  const Program& program_;
  const std::vector<Weight>& weights_;
  const std::vector<const float*>& inputs_;
  std::vector<NaiveTensor> tensors_;
  double work_ = 0;
  double scale_ = 0;
};

// One value for each channel. Without a constant (an index below 0) each is `other`.
inline std::vector<double> values_of(const NaiveRun& run, int constant, int64_t channels, double other) {
  std::vector<double> values(static_cast<size_t>(channels), constant < 0 ? other : 0.);
  if (constant < 0) return values;
  const Weight& weight = run.weight(constant);
  for (size_t i = 0; i < weight.position.size(); ++i) values[weight.position[i]] = static_cast<double>(weight.value[i]);
  return values;
}

struct NaiveOp {
  // Sets the plane of a result. Null: that of the first argument, with which all others must agree.
  void (*shape)(const NaiveShapes&, const Instr&, Plane&) = nullptr;
  // Computes the data of `out`, which are zeros at first, and sets `exact` where no sum is behind them. `off` is that of
  // all arguments together, times the slope of the activation, at first.
  void (*run)(NaiveRun&, const Instr&, NaiveTensor& out) = nullptr;
};

const NaiveOp& naive_op(Op op);

}  // namespace lth
