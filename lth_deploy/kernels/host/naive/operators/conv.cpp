// conv, qconv, qgrouped, matmul and qmatmul
#include <algorithm>

#include "../layer.h"

namespace lth {
namespace {

constexpr double kBf16Step = 1. / 128;  // from one value of bf16 to the next, of its magnitude at most

// Rounded to the nearest, halves to even.
double naive_bf16(double x) {
  int exponent = 0;
  const double part = std::frexp(x, &exponent);
  return std::isfinite(x) ? std::ldexp(std::nearbyint(std::ldexp(part, 8)), exponent - 8) : x;
}

// Sums of (input - zero) times value, and the bias; outside of the image the input is `zero`.
template <class T>
void conv(NaiveRun& run, const Instr& instr, double zero, const std::vector<T>& values, NaiveTensor& out) {
  const NaiveTensor& in = run.tensor(instr.args[0]);
  const Weight& weight = run.weight(instr.weight);
  const bool quantized = def_of(instr).int8_weights, bf16 = run.bf16(instr.weight);
  const Window& w = instr.window;
  const int64_t taps = w.kh * w.kw, group_in = in.plane.c / instr.groups, group_out = out.plane.c / instr.groups;
  run.work(static_cast<double>(values.size()) * static_cast<double>(out.plane.elements() / out.plane.c));
  start_with_bias(run, instr, out);
  for (size_t i = 0; i < values.size(); ++i) {
    const int64_t at = weight.position[i];
    const int64_t oc = at / (group_in * taps), ic = at / taps % group_in + oc / group_out * group_in;
    const int64_t ky = at % taps / w.kw * w.dh - w.pt, kx = at % w.kw * w.dw - w.pl;
    if (!quantized) run.seen(static_cast<double>(values[i]));
    for (int64_t n = 0; n < out.plane.n; ++n) {
      const double* from = in.channel(n, ic);
      double* to = out.channel(n, oc);
      for (int64_t y = 0; y < out.plane.h; ++y) {
        const int64_t iy = y * w.sh + ky;
        if (iy < 0 || iy >= in.plane.h) continue;
        for (int64_t x = 0; x < out.plane.w; ++x) {
          const int64_t ix = x * w.sw + kx;
          if (ix < 0 || ix >= in.plane.w) continue;
          const double read = bf16 ? naive_bf16(from[iy * in.plane.w + ix]) : from[iy * in.plane.w + ix];
          const double product = static_cast<double>(values[i]) * (read - zero);
          if (!quantized) run.seen(product);
          to[y * out.plane.w + x] += product;
        }
      }
    }
  }
}

// Next to a value that lies between two of bf16, the other of these: what a kernel reads that sums in another order.
void round_off(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  if (run.bf16(instr.weight) && !run.tensor(instr.args[0]).exact) out.off += kBf16Step * run.scale();
}

void run(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  const Weight& weight = run.weight(instr.weight);
  round_off(run, instr, out);
  out.off *= std::max(1., largest_row(weight, 0));
  conv(run, instr, 0., weight.value, out);
  finish_float(run, instr, out);
}

void run_quantized(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  conv(run, instr, run.quantization(instr.args[0]).zero_point, run.weight(instr.weight).integer, out);
  finish_quantized(run, instr, 0, out);
}

// As conv, of rows and with values of [inputs, outputs].
template <class T>
void multiply(NaiveRun& run, const Instr& instr, double zero, const std::vector<T>& values, NaiveTensor& out) {
  const Weight& weight = run.weight(instr.weight);
  const NaiveTensor& in = run.tensor(instr.args[0]);
  const bool quantized = def_of(instr).int8_weights;
  run.work(static_cast<double>(values.size()) * static_cast<double>(out.plane.n));
  start_with_bias(run, instr, out);
  for (size_t i = 0; i < values.size(); ++i) {
    const double value = static_cast<double>(values[i]);
    if (!quantized) run.seen(value);
    for (int64_t n = 0; n < out.plane.n; ++n) {
      const double x = *in.channel(n, weight.position[i] / out.plane.c);
      const double product = value * ((run.bf16(instr.weight) ? naive_bf16(x) : x) - zero);
      if (!quantized) run.seen(product);
      *out.channel(n, weight.position[i] % out.plane.c) += product;
    }
  }
}

void run_matmul(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  const Weight& weight = run.weight(instr.weight);
  round_off(run, instr, out);
  out.off *= std::max(1., largest_row(weight, 1));
  multiply(run, instr, 0., weight.value, out);
  finish_float(run, instr, out);
}

void run_quantized_matmul(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  multiply(run, instr, run.quantization(instr.args[0]).zero_point, run.weight(instr.weight).integer, out);
  finish_quantized(run, instr, 1, out);
}

}  // namespace

extern constexpr NaiveOp kNaiveConv{naive_window_shape, run}, kNaiveQConv{naive_window_shape, run_quantized},
    kNaiveQGrouped{naive_window_shape, run_quantized}, kNaiveMatMul{naive_window_shape, run_matmul},
    kNaiveQMatMul{naive_window_shape, run_quantized_matmul};

}  // namespace lth
