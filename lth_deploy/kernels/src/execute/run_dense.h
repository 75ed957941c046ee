// One convolution of int8 weights in dense form.
#pragma once

#include "execute/run_conv.h"

namespace lth {

// Of a call whose weights are dense.
void run_dense(const ConvCall&, Parallel&, Workspace&, std::atomic<int>& threads);

}  // namespace lth
