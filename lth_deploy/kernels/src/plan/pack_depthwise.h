// Weights of depthwise convolutions, in which each output reads one channel: all taps, zeros and all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "program/program.h"
#include "program/weights.h"

namespace lth {

struct DepthwiseWeights {
  int multiplier = 0;             // outputs of each channel; 0 where the convolution has another form
  std::vector<int32_t> channels;  // 0, 1, ... as the copying of tiles wants them
  std::vector<uint32_t> value;    // [output][tap], bits of float32

  bool used() const { return multiplier > 0; }
  size_t plane_values(const Window& k) const { return static_cast<size_t>(k.kh) * k.kw; }
};

// Whether a convolution of these groups is depthwise.
bool is_depthwise(const Weight& weight, int groups);

// Of float32.
DepthwiseWeights depthwise_weights(const Weight& weight, int groups);

}  // namespace lth
