#include "requantize.h"

#include <algorithm>
#include <cmath>

namespace lth {

double naive_clamped(double steps, const Quantization& out) {
  return std::min(std::max(std::nearbyint(steps) + out.zero_point, 0.), 255.);
}

double naive_uint8(double real, const Quantization& out) {
  const float steps = static_cast<float>(real) / out.scale;
  return naive_clamped(steps, out);
}

double naive_real(double uint8, const Quantization& in) { return (uint8 - in.zero_point) * static_cast<double>(in.scale); }

double naive_steps_off(double off, const Quantization& out) { return std::min(255., std::ceil(off / out.scale) + 1); }

}  // namespace lth
