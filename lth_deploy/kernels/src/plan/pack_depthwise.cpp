#include "plan/pack_depthwise.h"

#include <cstring>
#include <numeric>

namespace lth {
namespace {

constexpr int kTaps = 4;      // that are multiplied together
constexpr int kChannels = 4;  // of a cell

std::vector<int32_t> counted(int planes) {
  std::vector<int32_t> numbers(static_cast<size_t>(planes));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

}  // namespace

bool is_depthwise(const Weight& weight, int groups) { return groups > 1 && weight.dims[1] == 1; }

DepthwiseWeights depthwise_weights(const Weight& weight, int groups) {
  DepthwiseWeights made;
  made.multiplier = static_cast<int>(weight.dims[0]) / groups;
  made.channels = counted(groups);
  made.plane_values = static_cast<size_t>(weight.dims[2] * weight.dims[3]);
  made.value.assign(static_cast<size_t>(weight.dims[0]) * made.plane_values, 0);
  for (size_t i = 0; i < weight.position.size(); ++i) {
    std::memcpy(&made.value[weight.position[i]], &weight.value[i], sizeof(float));
  }
  return made;
}

int depthwise_groups(const DepthwiseWeights& weights, const Window& window) {
  return (window.kh + weights.rows_together - 1 + kTaps - 1) / kTaps;
}

DepthwiseWeights depthwise_int8_weights(const Weight& weight, const Window& window) {
  DepthwiseWeights made;
  const int cells = static_cast<int>((weight.dims[0] + kChannels - 1) / kChannels);
  made.multiplier = 1;
  made.channels = counted(cells);
  made.rows_together = window.sh == 1 && window.dh == 1 ? 2 : 1;
  const int groups = depthwise_groups(made, window), taps = window.kh * window.kw;
  made.plane_values = static_cast<size_t>(window.kw) * groups * kChannels * made.rows_together;
  made.value.assign(static_cast<size_t>(cells) * made.plane_values, 0);
  for (size_t i = 0; i < weight.position.size(); ++i) {
    const int channel = static_cast<int>(weight.position[i]) / taps, tap = static_cast<int>(weight.position[i]) % taps;
    for (int row = 0; row < made.rows_together; ++row) {
      const int below = tap / window.kw + row;  // the first of the rows that are read together
      const size_t place = ((static_cast<size_t>(tap % window.kw) * groups + below / kTaps) * kChannels + channel % kChannels) *
                               made.rows_together + row;
      made.value[channel / kChannels * made.plane_values + place] |= static_cast<uint32_t>(static_cast<uint8_t>(weight.integer[i]))
                                                                     << 8 * (below % kTaps);
    }
  }
  return made;
}

}  // namespace lth
