// RoiAlign from its definition, in double precision and one sample at a time.
#pragma once

#include <vector>

#include "execute/roi_align.h"

namespace lth {

// Samples are placed in float32, which decides what is outside; everything else is double. Boxes are of images that there
// are. Throws TooLarge.
std::vector<double> naive_roi_align(const RoiAlign&, const Boxes&);

}  // namespace lth
