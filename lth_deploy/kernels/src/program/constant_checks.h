// What the arrays of a region must keep to beyond their codings.
#pragma once

#include <vector>

#include "program/program.h"
#include "program/weights.h"

namespace lth {

// Scales of output channels lie within their limits, and no accumulator can leave 32 bits. Throws Error.
void check_constants(const Program& program, const std::vector<Weight>& weights);

}  // namespace lth
