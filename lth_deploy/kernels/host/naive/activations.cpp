#include <algorithm>
#include <cmath>

#include "tensor.h"

namespace lth {
namespace {

double silu(double x, const Act&) { return x / (1 + std::exp(-x)); }

double hard_swish(double x, const Act&) { return x * std::min(std::max(x / 6 + 0.5, 0.), 1.); }

double gelu(double x, const Act&) { return x / 2 * std::erfc(-x / std::sqrt(2.)); }

double gelu_tanh(double x, const Act&) {
  const double slope = std::sqrt(2 / std::acos(-1.));
  return x / 2 * (1 + std::tanh(slope * (x + 0.044715 * x * x * x)));
}

double sigmoid(double x, const Act&) { return 1 / (1 + std::exp(-x)); }

double hard_sigmoid(double x, const Act& act) {
  return std::min(std::max(x * static_cast<double>(act.a) + static_cast<double>(act.b), 0.), 1.);
}

double hyperbolic_tangent(double x, const Act&) { return std::tanh(x); }

double whole_exponential(double x, const Act&) { return std::exp(x); }

double mish(double x, const Act&) { return x * std::tanh(std::log1p(std::exp(std::min(x, 50.)))); }

double elu(double x, const Act& act) { return x > 0 ? x : static_cast<double>(act.a) * std::expm1(x); }

double linear(double x, const Act& act) { return x * static_cast<double>(act.a) + static_cast<double>(act.b); }

double relu_linear(double x, const Act& act) { return linear(std::max(x, 0.), act); }

double quotient(double x, const Act& act) { return x / static_cast<double>(act.a); }

// Of a number in the formulas of slopes.
double magnitude(float x) { return std::fabs(static_cast<double>(x)); }

}  // namespace

double naive_activation(const Act& act, double x) {
  switch (act.kind) {
    case ActKind::kNone: return x;
    case ActKind::kRelu: return x > 0 ? x : 0;
    case ActKind::kLeaky: return x > 0 ? x : x * act.a;
    case ActKind::kClip: return std::min<double>(std::max<double>(x, act.a), act.b);
#define LTH_FUNCTION(kind, form, since, function, slope) \
  case ActKind::k##kind: return function(x, act);
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
