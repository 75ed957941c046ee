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
  int rows_together = 1;          // int8: output rows that share groups of four taps that lie below each other
  size_t plane_values = 0;        // values of an output channel, or of a cell of four
  // Bits of float32: [channel][tap]. Of int8, four taps each: [cell][kx][group][channel of the cell][row of the output],
  // zeros where the group reaches beyond the kernel.
  std::vector<uint32_t> value;

  bool used() const { return multiplier > 0; }
};

// Whether a convolution of these groups is depthwise.
bool is_depthwise(const Weight& weight, int groups);

// Of float32.
DepthwiseWeights depthwise_weights(const Weight& weight, int groups);

// Of s8, one output for each channel.
DepthwiseWeights depthwise_int8_weights(const Weight& weight, const Window& window);

// Groups of four taps of a column of int8 weights.
int depthwise_groups(const DepthwiseWeights& weights, const Window& window);

}  // namespace lth
