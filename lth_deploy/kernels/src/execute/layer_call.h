// From an instruction with weights to the call of a convolution.
#pragma once

#include "execute/call.h"

namespace lth {

// What all convolutions have in common: weights, tiles, the tensor that is read, the activation. The output is not set.
ConvCall layer_call(const Call&, int i, const Instr&);

// Runs the convolution; one of int8 weights is brought to the scale of its result.
void run_layer(Call&, int i, const Instr&, ConvCall);

}  // namespace lth
