#include "naive_tensor.h"

#include <algorithm>
#include <cmath>

namespace lth {

double naive_activation(const Act& act, double x) {
  switch (act.kind) {
    case ActKind::kRelu:
      return x > 0 ? x : 0;
    case ActKind::kLeaky:
      return x > 0 ? x : x * act.a;
    case ActKind::kClip:
      return std::min<double>(std::max<double>(x, act.a), act.b);
    case ActKind::kSilu:
      return x / (1 + std::exp(-x));
    case ActKind::kHardSwish:
      return x * std::min(std::max(x / 6 + 0.5, 0.), 1.);
    default:
      return x;
  }
}

double naive_slope(const Act& act) {
  if (act.kind == ActKind::kLeaky) return std::max(1., std::fabs(static_cast<double>(act.a)));
  return act.kind == ActKind::kSilu || act.kind == ActKind::kHardSwish ? 1.5 : 1.;
}

}  // namespace lth
