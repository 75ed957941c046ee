#include <algorithm>
#include <cmath>

#include "tensor.h"

namespace lth {
namespace {

double silu(double x) { return x / (1 + std::exp(-x)); }

double hard_swish(double x) { return x * std::min(std::max(x / 6 + 0.5, 0.), 1.); }

double gelu(double x) { return x / 2 * std::erfc(-x / std::sqrt(2.)); }

double gelu_tanh(double x) {
  const double slope = std::sqrt(2 / std::acos(-1.));
  return x / 2 * (1 + std::tanh(slope * (x + 0.044715 * x * x * x)));
}

}  // namespace

double naive_activation(const Act& act, double x) {
  switch (act.kind) {
    case ActKind::kNone: return x;
    case ActKind::kRelu: return x > 0 ? x : 0;
    case ActKind::kLeaky: return x > 0 ? x : x * act.a;
    case ActKind::kClip: return std::min<double>(std::max<double>(x, act.a), act.b);
#define LTH_FUNCTION(kind, form, since, function, slope) \
  case ActKind::k##kind: return function(x);
      LTH_SECOND_PASS_ACTIVATIONS(LTH_FUNCTION)
#undef LTH_FUNCTION
  }
  return x;
}

double naive_slope(const Act& act) {
  switch (act.kind) {
    case ActKind::kNone:
    case ActKind::kRelu:
    case ActKind::kClip: return 1.;
    case ActKind::kLeaky: return std::max(1., std::fabs(static_cast<double>(act.a)));
#define LTH_SLOPE(kind, form, since, function, slope) \
  case ActKind::k##kind: return slope;
      LTH_SECOND_PASS_ACTIVATIONS(LTH_SLOPE)
#undef LTH_SLOPE
  }
  return 1.;
}

}  // namespace lth
