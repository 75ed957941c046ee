// What the uint8 values of a quantized tensor stand for. Plain data: see isa/isa.h.
#pragma once

namespace lth {

// A value q stands for (q - zero_point) * scale.
struct Quantization {
  float scale = 1.f;
  int zero_point = 0;
};

}  // namespace lth
