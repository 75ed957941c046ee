// What convolutions and transposed convolutions share.
#pragma once

#include "op.h"

namespace lth {

// Fills `out` with the bias.
void start_with_bias(NaiveRun&, const Instr&, NaiveTensor& out);

// The largest sum of magnitudes of the weights of one output channel, which is dimension `axis` of the weight.
double largest_row(const Weight& weight, size_t axis);

// Residual and activation of a convolution of float32.
void finish_float(NaiveRun&, const Instr&, NaiveTensor& out);

// ... of a quantized convolution: `out` holds its sums of (uint8 - zero point) times weight, and the bias. axis: see
// largest_row.
void finish_quantized(NaiveRun&, const Instr&, size_t axis, NaiveTensor& out);

}  // namespace lth
