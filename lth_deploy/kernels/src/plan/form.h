// Which form a layer's weights were packed in, in words, for LTH_PROFILE.
#pragma once

#include <string>

#include "plan/pack.h"

namespace lth {

// "depthwise", "single" or "pairs"; with matrix tiles "dense N", "gathered N", or "gathered by 32 N" for N tiles of weights.
std::string form_of(const PackedConv&);

}  // namespace lth
