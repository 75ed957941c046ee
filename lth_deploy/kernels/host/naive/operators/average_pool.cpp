// averagepool and qaveragepool
#include <algorithm>

#include "../op.h"
#include "../requantize.h"

namespace lth {
namespace {

// The mean of a window that begins at (top, left), less `zero` for each pixel; of no pixel it is 0.
double mean(const Instr& instr, const NaiveTensor& in, const double* from, int64_t top, int64_t left, double zero = 0.) {
  const Window& w = instr.window;
  double sum = 0;
  int count = 0;
  for (int ky = 0; ky < w.kh; ++ky) {
    for (int kx = 0; kx < w.kw; ++kx) {
      const int64_t y = top + ky * w.dh, x = left + kx * w.dw;
      if (y < 0 || y >= in.plane.h || x < 0 || x >= in.plane.w) continue;
      sum += from[y * in.plane.w + x] - zero;
      ++count;
    }
  }
  return sum / (instr.option != 0 ? w.kh * w.kw : std::max(1, count));
}

// made(channel, top, left) for each window.
template <class Made>
void each_window(NaiveRun& run, const Instr& instr, NaiveTensor& out, const Made& made) {
  const Window& w = instr.window;
  run.work(static_cast<double>(out.plane.elements()) * w.kh * w.kw);
  for (int64_t nc = 0; nc < out.plane.n * out.plane.c; ++nc) {
    for (int64_t y = 0; y < out.plane.h; ++y) {
      for (int64_t x = 0; x < out.plane.w; ++x) {
        out.channel(0, nc)[y * out.plane.w + x] = made(nc, y * w.sh - w.pt, x * w.sw - w.pl);
      }
    }
  }
}

void run(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  const NaiveTensor& in = run.tensor(instr.args[0]);
  each_window(run, instr, out, [&](int64_t nc, int64_t top, int64_t left) { return mean(instr, in, in.channel(0, nc), top, left); });
}

void run_quantized(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  const NaiveTensor& in = run.tensor(instr.args[0]);
  const Quantization& from = run.quantization(instr.args[0]);
  each_window(run, instr, out, [&](int64_t nc, int64_t top, int64_t left) {
    return naive_uint8(mean(instr, in, in.channel(0, nc), top, left, from.zero_point) * from.scale, instr.quantization);
  });
  out.off = naive_steps_off(in.off * from.scale, instr.quantization);
}

}  // namespace

extern constexpr NaiveOp kNaiveAveragePool{naive_window_shape, run}, kNaiveQAveragePool{naive_window_shape, run_quantized};

}  // namespace lth
