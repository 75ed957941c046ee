// Convolutions between planes of one pixel, as in a squeeze-and-excitation block: a line has one pixel for all of its
// lanes there, so the lanes hold output channels instead, and the weights lie in full.
#pragma once

#include <vector>

#include "isa/isa.h"
#include "program/program.h"
#include "program/weights.h"

namespace lth {

struct PixelLayer {
  int inputs = 0;  // 0 for instructions that are none
  int blocks = 0;  // of kPixelLines lines of output channels
  std::vector<MatrixRow> weights;  // [block][input][kPixelLines lines]
  std::vector<MatrixRow> bias;     // [block][kPixelLines lines]

  size_t bytes() const { return sizeof(MatrixRow) * (weights.size() + bias.size()); }
};

// For each instruction whether its result has one pixel, whatever the shapes of the inputs.
std::vector<bool> single_pixels(const Program&);

// Of a conv of float32. lanes: of the instruction set.
PixelLayer pixel_layer(const Instr&, const std::vector<Weight>& weights, int lanes);

}  // namespace lth
