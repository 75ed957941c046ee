// Pooling and resizing, as the oracle does them.
#pragma once

#include "naive_tensor.h"

namespace lth {

// lowest: what a window has that lies outside of the image altogether.
void naive_max_pool(const Window& w, const NaiveTensor& in, double lowest, NaiveTensor& out);

// To the plane of `out`.
void naive_resize(Resampling resampling, const NaiveTensor& in, NaiveTensor& out);

}  // namespace lth
