// multiply
#include <algorithm>
#include <cmath>

#include "../op.h"

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

}  // namespace

extern constexpr NaiveOp kNaiveMultiply{shape, run};

}  // namespace lth
