// convtranspose and qconvtranspose
#include "../layer.h"

namespace lth {
namespace {

// Sums of (input - zero) times value, and the bias.
template <class T>
void conv_transpose(NaiveRun& run, const Instr& instr, double zero, const std::vector<T>& values, NaiveTensor& out) {
  const NaiveTensor& in = run.tensor(instr.args[0]);
  const Weight& weight = run.weight(instr.weight);
  const bool quantized = def_of(instr).int8_weights;
  const Window& w = instr.window;
  const int64_t taps = w.kh * w.kw;
  run.work(static_cast<double>(values.size()) * static_cast<double>(in.plane.elements() / in.plane.c));
  start_with_bias(run, instr, out);
  for (size_t i = 0; i < values.size(); ++i) {
    const int64_t at = weight.position[i];
    const int64_t ic = at / (out.plane.c * taps), oc = at / taps % out.plane.c;
    const int64_t ky = at % taps / w.kw, kx = at % w.kw;
    if (!quantized) run.seen(static_cast<double>(values[i]));
    for (int64_t n = 0; n < in.plane.n; ++n) {
      for (int64_t y = 0; y < in.plane.h; ++y) {
        for (int64_t x = 0; x < in.plane.w; ++x) {
          const double product = static_cast<double>(values[i]) * (in.channel(n, ic)[y * in.plane.w + x] - zero);
          if (!quantized) run.seen(product);
          out.channel(n, oc)[(y * w.kh + ky) * out.plane.w + x * w.kw + kx] += product;
        }
      }
    }
  }
}

void shape(const NaiveShapes& shapes, const Instr& instr, Plane& plane) {
  const Plane& in = shapes.planes[instr.args[0]];
  plane = {in.n, instr.channels, in.h * instr.window.kh, in.w * instr.window.kw};
}

void run(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  const Weight& weight = run.weight(instr.weight);
  out.off *= largest_row(weight, 1);
  conv_transpose(run, instr, 0., weight.value, out);
  finish_float(run, instr, out);
}

void run_quantized(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  conv_transpose(run, instr, run.quantization(instr.args[0]).zero_point, run.weight(instr.weight).integer, out);
  finish_quantized(run, instr, 1, out);
}

}  // namespace

extern constexpr NaiveOp kNaiveConvTranspose{shape, run}, kNaiveQConvTranspose{shape, run_quantized};

}  // namespace lth
