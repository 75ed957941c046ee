// globalaveragepool
#include <numeric>

#include "../op.h"

namespace lth {
namespace {

void shape(const NaiveShapes& shapes, const Instr& instr, Plane& plane) {
  const Plane& in = shapes.planes[instr.args[0]];
  plane = {in.n, in.c, 1, 1};
}

void run(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  const NaiveTensor& in = run.tensor(instr.args[0]);
  const int64_t pixels = in.plane.h * in.plane.w;
  for (int64_t nc = 0; nc < out.plane.n * out.plane.c; ++nc) {
    const double* from = in.channel(0, nc);
    out.data[static_cast<size_t>(nc)] = std::accumulate(from, from + pixels, 0.) / static_cast<double>(pixels);
  }
}

}  // namespace

extern constexpr NaiveOp kNaiveGlobalAveragePool{shape, run};

}  // namespace lth
