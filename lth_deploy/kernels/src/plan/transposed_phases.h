// A transposed convolution whose stride is its kernel, as a 1x1 convolution: the pixels of an output whose row modulo kh
// and column modulo kw are the same, a phase, are rows of their own, and are interleaved afterwards.
#pragma once

#include <vector>

#include "program/program.h"
#include "program/weights.h"

namespace lth {

// Row (ky * kw + kx) * rows of a phase + oc. Rows of a phase: the output channels; with weights of s8, whole cells of
// four, of which the last rows have neither weights nor a scale.
struct Phases {
  Weight weight;  // [rows, IC, 1, 1]
  Weight bias, scales;  // [rows]; without elements where there are none
};

// instr: a convtranspose or qconvtranspose.
Phases phases_of(const Instr& instr, const std::vector<Weight>& weights);

}  // namespace lth
