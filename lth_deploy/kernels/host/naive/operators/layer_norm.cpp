// layernorm
#include <algorithm>
#include <cmath>

#include "../op.h"

namespace lth {
namespace {

double largest(const std::vector<double>& values) {
  double most = 0;
  for (double value : values) most = std::max(most, std::fabs(value));
  return most;
}

void run(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  const NaiveTensor& x = run.tensor(instr.args[0]);
  const int64_t channels = out.plane.c, pixels = out.plane.h * out.plane.w;
  const std::vector<double> factor = values_of(run, instr.factor, channels, 1.), shift = values_of(run, instr.shift, channels, 0.);
  // What rounding did to x is stretched by at most 1 / sqrt(epsilon), and what it does to the mean as well.
  const double error = 3 * (x.off + kFloatError * run.scale());
  double steepest = 0;
  for (int64_t n = 0; n < out.plane.n; ++n) {
    for (int64_t i = 0; i < pixels; ++i) {
      double mean = 0, variance = 0;
      for (int64_t c = 0; c < channels; ++c) mean += x.channel(n, c)[i] / static_cast<double>(channels);
      for (int64_t c = 0; c < channels; ++c) {
        const double away = x.channel(n, c)[i] - mean;
        variance += away * away / static_cast<double>(channels);
      }
      const double spread = std::sqrt(variance + static_cast<double>(instr.epsilon));
      // The spread itself may be off by as much as the error, but not below that of the epsilon.
      const double least = std::max(spread - error, std::sqrt(static_cast<double>(instr.epsilon)));
      steepest = std::max(steepest, (1 + std::sqrt(static_cast<double>(channels))) / least);
      for (int64_t c = 0; c < channels; ++c) {
        const double made = (x.channel(n, c)[i] - mean) / spread * factor[static_cast<size_t>(c)] + shift[static_cast<size_t>(c)];
        run.seen(made);
        out.channel(n, c)[i] = naive_activation(instr.act, made);
      }
    }
  }
  out.off = naive_slope(instr.act) * largest(factor) * steepest * error;
}

}  // namespace

extern constexpr NaiveOp kNaiveLayerNorm{nullptr, run};

}  // namespace lth
