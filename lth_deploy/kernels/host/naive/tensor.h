// A tensor of the oracle.
#pragma once

#include <vector>

#include "program/program.h"
#include "shapes.h"

namespace lth {

// The data of a quantized tensor are its uint8 values. off: how far an element may be from what other roundings make of it,
// beyond the errors of float32 accumulators.
struct NaiveTensor {
  Plane plane;
  std::vector<double> data;
  double off = 0.;
  bool exact = false;  // of float32: no rounded sum is behind it

  double* channel(int64_t n, int64_t c) { return data.data() + (n * plane.c + c) * plane.h * plane.w; }
  const double* channel(int64_t n, int64_t c) const { return data.data() + (n * plane.c + c) * plane.h * plane.w; }
};

double naive_activation(const Act& act, double x);

// The most by which an activation stretches a difference.
double naive_slope(const Act& act);

}  // namespace lth
