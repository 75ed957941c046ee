// Between real values and uint8.
#pragma once

#include "tensor.h"

namespace lth {

// The uint8 that stands for a real value, and back.
double naive_uint8(double real, const Quantization& out);
double naive_real(double uint8, const Quantization& in);

// Rounded and bounded, from steps of the scale.
double naive_clamped(double steps, const Quantization& out);

// How far a uint8 may be off where the real value may: where only the result is rounded, float32 may decide otherwise at a
// tie, and reals that are off may move it further.
double naive_steps_off(double off, const Quantization& out);

}  // namespace lth
