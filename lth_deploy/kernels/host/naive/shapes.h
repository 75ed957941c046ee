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

// What the shape rule of an operator sees: the shapes of the inputs, and the planes of the tensors so far.
struct NaiveShapes {
  const std::vector<Shape>& inputs;
  const std::vector<Plane>& planes;
};

// What a window makes of a plane.
Plane window_plane(const Plane& in, int64_t channels, const Window& w);

// Shape rule of convolutions and pools.
void naive_window_shape(const NaiveShapes&, const Instr&, Plane&);

// Throws Error where batch, height or width differ.
void expect_same_plane(const Plane& a, const Plane& b);

// Of all tensors of the program. Throws Error where the inputs do not fit.
std::vector<Plane> naive_planes(const Program& program, const std::vector<Shape>& shapes);

// Of the outputs.
std::vector<Shape> naive_output_shapes(const Program& program, const std::vector<Shape>& inputs, const std::vector<Plane>& planes);

}  // namespace lth
