// scale and batchnorm
#include <algorithm>
#include <cmath>

#include "../op.h"

namespace lth {
namespace {

void apply(NaiveRun& run, const Instr& instr, const std::vector<double>& factor, const std::vector<double>& shift,
           NaiveTensor& out) {
  const NaiveTensor& x = run.tensor(instr.args[0]);
  double steepest = 0;
  for (double f : factor) steepest = std::max(steepest, std::fabs(f));
  const double error = x.off + (x.exact ? 0. : kFloatError * run.scale());
  out.off = naive_slope(instr.act) * steepest * error;
  for (int64_t n = 0; n < out.plane.n; ++n) {
    for (int64_t c = 0; c < out.plane.c; ++c) {
      const auto channel = static_cast<size_t>(c);
      for (int64_t i = 0; i < out.plane.h * out.plane.w; ++i) {
        const double made = x.channel(n, c)[i] * factor[channel] + shift[channel];
        run.seen(made);
        out.channel(n, c)[i] = naive_activation(instr.act, made);
      }
    }
  }
}

void run(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  apply(run, instr, values_of(run, instr.factor, out.plane.c, 1.), values_of(run, instr.shift, out.plane.c, 0.), out);
}

void run_batch_norm(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  std::vector<double> factor = values_of(run, instr.factor, out.plane.c, 1.);
  std::vector<double> shift = values_of(run, instr.shift, out.plane.c, 0.);
  const std::vector<double> mean = values_of(run, instr.mean, out.plane.c, 0.);
  const std::vector<double> variance = values_of(run, instr.variance, out.plane.c, 0.);
  for (size_t c = 0; c < factor.size(); ++c) {
    factor[c] /= std::sqrt(variance[c] + static_cast<double>(instr.epsilon));
    run.seen(factor[c] * mean[c]);
    shift[c] -= factor[c] * mean[c];
  }
  apply(run, instr, factor, shift, out);
}

}  // namespace

extern constexpr NaiveOp kNaiveScale{nullptr, run}, kNaiveBatchNorm{nullptr, run_batch_norm};

}  // namespace lth
