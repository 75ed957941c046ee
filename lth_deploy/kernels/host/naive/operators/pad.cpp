// pad and qpad
#include <algorithm>

#include "../op.h"

namespace lth {
namespace {

void shape(const NaiveShapes& shapes, const Instr& instr, Plane& plane) {
  const Plane& in = shapes.planes[instr.args[0]];
  const Window& w = instr.window;
  plane = {in.n, in.c, in.h + w.pt + w.pb, in.w + w.pl + w.pr};
}

void run(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  const NaiveTensor& in = run.tensor(instr.args[0]);
  out.exact = in.exact;
  if (instr.quantized) std::fill(out.data.begin(), out.data.end(), instr.quantization.zero_point);
  for (int64_t nc = 0; nc < out.plane.n * out.plane.c; ++nc) {
    for (int64_t y = 0; y < in.plane.h; ++y) {
      const double* from = in.channel(0, nc) + y * in.plane.w;
      std::copy(from, from + in.plane.w, out.channel(0, nc) + (y + instr.window.pt) * out.plane.w + instr.window.pl);
    }
  }
}

}  // namespace

extern constexpr NaiveOp kNaivePad{shape, run}, kNaiveQPad{shape, run};

}  // namespace lth
