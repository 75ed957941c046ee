// maxpool, zeromaxpool
#include <algorithm>
#include <limits>

#include "../op.h"

namespace lth {
namespace {

// lowest: what a window has that lies outside of the image altogether. padding: what it has wherever it lies outside.
void max_pool(const Window& w, const NaiveTensor& in, double lowest, double padding, NaiveTensor& out) {
  for (int64_t nc = 0; nc < out.plane.n * out.plane.c; ++nc) {
    const double* from = in.channel(0, nc);
    for (int64_t y = 0; y < out.plane.h; ++y) {
      for (int64_t x = 0; x < out.plane.w; ++x) {
        double best = lowest;
        for (int ky = 0; ky < w.kh; ++ky) {
          for (int kx = 0; kx < w.kw; ++kx) {
            const int64_t iy = y * w.sh + ky * w.dh - w.pt, ix = x * w.sw + kx * w.dw - w.pl;
            const bool outside = iy < 0 || iy >= in.plane.h || ix < 0 || ix >= in.plane.w;
            best = std::max(best, outside ? padding : from[iy * in.plane.w + ix]);
          }
        }
        out.channel(0, nc)[y * out.plane.w + x] = best;
      }
    }
  }
}

void run(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  run.work(static_cast<double>(out.plane.elements()) * instr.window.kh * instr.window.kw);
  const NaiveTensor& in = run.tensor(instr.args[0]);
  const double infinity = std::numeric_limits<double>::infinity();
  const double zero = instr.quantized ? run.quantization(instr.args[0]).zero_point : 0.;
  max_pool(instr.window, in, instr.quantized ? 0. : -infinity, instr.op == Op::kZeroMaxPool ? zero : -infinity, out);
  out.exact = in.exact;
}

}  // namespace

extern constexpr NaiveOp kNaiveMaxPool{naive_window_shape, run};
extern constexpr NaiveOp kNaiveZeroMaxPool{naive_window_shape, run};

}  // namespace lth
