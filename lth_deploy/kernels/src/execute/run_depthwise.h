// One depthwise convolution in the lane layout.
#pragma once

#include "execute/run_conv.h"

namespace lth {

// Of a call whose weights are depthwise.
void run_depthwise(const ConvCall&, Parallel&, Workspace&, std::atomic<int>& threads);

}  // namespace lth
