// Shapes of the tensors of a region, worked out apart from the kernels.
#pragma once

#include <vector>

#include "plan/region.h"
#include "program/program.h"

namespace lth {

struct Plane {
  int64_t n = 0, c = 0, h = 0, w = 0;
  int64_t elements() const { return n * c * h * w; }
};

// Of all tensors of the program. Throws Error where the inputs do not fit.
std::vector<Plane> naive_planes(const Program& program, const std::vector<Shape>& shapes);

// Of the outputs.
std::vector<Shape> naive_output_shapes(const Program& program, const std::vector<Plane>& planes);

}  // namespace lth
