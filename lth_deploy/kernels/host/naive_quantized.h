// What the oracle makes of integer sums and bytes.
#pragma once

#include <vector>

#include "naive_tensor.h"

namespace lth {

// Bytes from floats, and back. error: how far float32 sums may be from x, if it is not exact.
void naive_quantize(const Quantized& out, const NaiveTensor& x, double error, NaiveTensor& made);
void naive_dequantize(const Quantized& in, const NaiveTensor& x, NaiveTensor& made);

// A convolution of bytes: `made` holds its sums of (byte - zero) times weight, and the bias. largest: sum of the
// magnitudes of the weights of an output channel, at most. add: the residual, or null.
void naive_requantize_sums(const Program& program, const Instr& instr, const std::vector<float>& scales,
                           const NaiveTensor& x, double largest, const NaiveTensor* add, NaiveTensor& made);

// A kQAdd or kRequantize.
void naive_add_bytes(const Program& program, const Instr& instr, const std::vector<const NaiveTensor*>& args,
                     NaiveTensor& made);

}  // namespace lth
