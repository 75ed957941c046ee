// globalaveragepool and qglobalaveragepool
#include <algorithm>
#include <cmath>
#include <numeric>

#include "../op.h"
#include "../requantize.h"

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

void run_quantized(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  const NaiveTensor& in = run.tensor(instr.args[0]);
  const Quantization& from = run.quantization(instr.args[0]);
  const int64_t pixels = in.plane.h * in.plane.w;
  double most = 0;
  for (int64_t nc = 0; nc < out.plane.n * out.plane.c; ++nc) {
    double sum = 0, size = 0;
    for (int64_t i = 0; i < pixels; ++i) {
      const double real = naive_activation(instr.act, naive_real(in.channel(0, nc)[i], from));
      sum += real;
      size += std::fabs(real);
    }
    most = std::max(most, size / static_cast<double>(pixels));
    out.data[static_cast<size_t>(nc)] = naive_uint8(sum / static_cast<double>(pixels), instr.quantization);
  }
  out.off = naive_steps_off(in.off * from.scale * naive_slope(instr.act) + kFloatError * most, instr.quantization);
}

}  // namespace

extern constexpr NaiveOp kNaiveGlobalAveragePool{shape, run}, kNaiveQGlobalAveragePool{shape, run_quantized};

}  // namespace lth
