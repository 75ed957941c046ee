// multiply, qmultiply and qgate
#include <algorithm>
#include <cmath>

#include "../op.h"
#include "../requantize.h"

namespace lth {
namespace {

bool is_pixel(const Plane& plane) { return plane.h == 1 && plane.w == 1; }

void shape(const NaiveShapes& shapes, const Instr& instr, Plane& plane) {
  plane = shapes.planes[instr.args[0]];
  const Plane& other = shapes.planes[instr.args[1]];
  if (!is_pixel(other) || other.n != plane.n) expect_same_plane(plane, other);
}

double largest(const NaiveTensor& tensor) {
  double most = 0;
  for (double x : tensor.data) most = std::max(most, std::fabs(x));
  return most;
}

void run(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  const NaiveTensor &x = run.tensor(instr.args[0]), &y = run.tensor(instr.args[1]);
  const int64_t pixels = out.plane.h * out.plane.w, step = is_pixel(y.plane) ? 0 : 1;
  for (int64_t nc = 0; nc < out.plane.n * out.plane.c; ++nc) {
    for (int64_t i = 0; i < pixels; ++i) {
      const double product = x.channel(0, nc)[i] * y.channel(0, nc)[i * step];
      run.seen(product);
      out.channel(0, nc)[i] = naive_activation(instr.act, product);
    }
  }
  // (x + a) (y + b) is x y + a y + b x + a b.
  const double error = kFloatError * run.scale();
  const double a = x.off + error, b = y.off + error;
  out.off = naive_slope(instr.act) * (a * largest(y) + b * largest(x) + a * b);
}

// Of real values that may be off by a and b.
double product_off(double x, double a, double y, double b) { return a * std::fabs(y) + b * std::fabs(x) + a * b; }

void run_quantized(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  const int x = instr.args[0], y = instr.args[1];
  const double a = run.tensor(x).off * run.quantization(x).scale;
  const double b = run.tensor(y).off * run.quantization(y).scale * naive_slope(instr.act);
  double off = 0;
  for (size_t i = 0; i < out.data.size(); ++i) {
    const double of_x = naive_real(run.tensor(x).data[i], run.quantization(x));
    const double of_y = naive_activation(instr.act, naive_real(run.tensor(y).data[i], run.quantization(y)));
    out.data[i] = naive_uint8(of_x * of_y, instr.quantization);
    off = std::max(off, product_off(of_x, a, of_y, b));
  }
  out.off = naive_steps_off(off, instr.quantization);
}

void gate_shape(const NaiveShapes& shapes, const Instr& instr, Plane& plane) {
  plane = shapes.planes[instr.args[0]];
  const Plane& other = shapes.planes[instr.args[1]];
  if (!is_pixel(other) || other.n != plane.n) throw Error("factors of other planes");
}

void run_gate(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  const NaiveTensor &x = run.tensor(instr.args[0]), &y = run.tensor(instr.args[1]);
  const Quantization& from = run.quantization(instr.args[0]);
  const double a = x.off * from.scale * naive_slope(instr.act);
  const double b = y.off + (y.exact ? 0. : kFloatError * run.scale());
  const int64_t pixels = out.plane.h * out.plane.w;
  double off = 0;
  for (int64_t nc = 0; nc < out.plane.n * out.plane.c; ++nc) {
    const double factor = y.data[static_cast<size_t>(nc)];
    for (int64_t i = 0; i < pixels; ++i) {
      const double real = naive_activation(instr.act, naive_real(x.channel(0, nc)[i], from));
      out.channel(0, nc)[i] = naive_uint8(real * factor, instr.quantization);
      off = std::max(off, product_off(real, a, factor, b));
    }
  }
  out.off = naive_steps_off(off, instr.quantization);
}

}  // namespace

extern constexpr NaiveOp kNaiveMultiply{shape, run}, kNaiveQMultiply{nullptr, run_quantized}, kNaiveQGate{gate_shape, run_gate};

}  // namespace lth
