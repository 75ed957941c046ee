// What the bytes of a tensor stand for. Plain data: see isa.h.
#pragma once

namespace lth {

// A byte stands for (byte - zero) * scale.
struct Quantized {
  float scale = 1.f;
  int zero = 0;
};

}  // namespace lth
