#include "plan/pack_depthwise.h"

#include <cstring>
#include <numeric>

namespace lth {

bool is_depthwise(const Weight& weight, int groups) { return groups > 1 && weight.dims[1] == 1; }

DepthwiseWeights depthwise_weights(const Weight& weight, int groups) {
  DepthwiseWeights made;
  made.multiplier = static_cast<int>(weight.dims[0]) / groups;
  made.channels.resize(static_cast<size_t>(groups));
  std::iota(made.channels.begin(), made.channels.end(), 0);
  made.value.assign(static_cast<size_t>(weight.dims[0] * weight.dims[2] * weight.dims[3]), 0);
  for (size_t i = 0; i < weight.position.size(); ++i) {
    std::memcpy(&made.value[weight.position[i]], &weight.value[i], sizeof(float));
  }
  return made;
}

}  // namespace lth
