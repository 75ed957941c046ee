// A region in double precision and plain loops over NCHW: what the tests of the host compare the kernels with.
#pragma once

#include <vector>

#include "plan/region.h"
#include "program/program.h"
#include "program/weights.h"

namespace lth {

struct NaiveResult {
  std::vector<Shape> shapes;  // of the outputs
  std::vector<std::vector<double>> outputs;
  std::vector<double> tolerance;  // of each output: what other orders of summation, and roundings at ties, may change
  double scale = 0.;  // largest magnitude of any partial sum, weight or activation; what rounding errors grow with
};

// More work than a test should wait for.
class TooLarge : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws Error where the inputs do not fit, TooLarge.
NaiveResult run_naive(const Program& program, const std::vector<Weight>& weights, const std::vector<Shape>& shapes,
                      const std::vector<const float*>& inputs);

}  // namespace lth
