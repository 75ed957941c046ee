// averagepool
#include <algorithm>

#include "../op.h"

namespace lth {
namespace {

// The mean of a window that begins at (top, left); of no pixel it is 0.
double mean(const Instr& instr, const NaiveTensor& in, const double* from, int64_t top, int64_t left) {
  const Window& w = instr.window;
  double sum = 0;
  int count = 0;
  for (int ky = 0; ky < w.kh; ++ky) {
    for (int kx = 0; kx < w.kw; ++kx) {
      const int64_t y = top + ky * w.dh, x = left + kx * w.dw;
      if (y < 0 || y >= in.plane.h || x < 0 || x >= in.plane.w) continue;
      sum += from[y * in.plane.w + x];
      ++count;
    }
  }
  return sum / (instr.option != 0 ? w.kh * w.kw : std::max(1, count));
}

void run(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  const Window& w = instr.window;
  run.work(static_cast<double>(out.plane.elements()) * w.kh * w.kw);
  const NaiveTensor& in = run.tensor(instr.args[0]);
  for (int64_t nc = 0; nc < out.plane.n * out.plane.c; ++nc) {
    for (int64_t y = 0; y < out.plane.h; ++y) {
      for (int64_t x = 0; x < out.plane.w; ++x) {
        out.channel(0, nc)[y * out.plane.w + x] = mean(instr, in, in.channel(0, nc), y * w.sh - w.pt, x * w.sw - w.pl);
      }
    }
  }
}

}  // namespace

extern constexpr NaiveOp kNaiveAveragePool{naive_window_shape, run};

}  // namespace lth
