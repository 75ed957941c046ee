// binmean
#include <algorithm>
#include <cmath>

#include "../op.h"

namespace lth {
namespace {

void shape(const NaiveShapes& shapes, const Instr& instr, Plane& plane) {
  const Plane& in = shapes.planes[instr.args[0]];
  plane = {in.n, instr.groups, in.h, in.w};
}

void run(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  const NaiveTensor& x = run.tensor(instr.args[0]);
  const int64_t bins = x.plane.c / instr.groups, pixels = out.plane.h * out.plane.w;
  const std::vector<double> value = values_of(run, instr.factor, bins, 1.);
  double most = 0;
  for (double v : value) most = std::max(most, std::fabs(v));
  run.seen(most);
  for (int64_t n = 0; n < out.plane.n; ++n) {
    for (int64_t g = 0; g < out.plane.c; ++g) {
      for (int64_t i = 0; i < pixels; ++i) {
        double largest = x.channel(n, g * bins)[i], total = 0, sum = 0;
        for (int64_t b = 1; b < bins; ++b) largest = std::max(largest, x.channel(n, g * bins + b)[i]);
        for (int64_t b = 0; b < bins; ++b) {
          const double power = std::exp(x.channel(n, g * bins + b)[i] - largest);
          total += power;
          sum += power * value[static_cast<size_t>(b)];
        }
        out.channel(n, g)[i] = sum / total;
      }
    }
  }
  // Each share is off relatively by what rounding did to x, and a mean lies between the bins.
  out.off = 2 * most * std::min(1., std::expm1(2 * (x.off + kFloatError * run.scale())));
}

}  // namespace

extern constexpr NaiveOp kNaiveBinMean{shape, run};

}  // namespace lth
