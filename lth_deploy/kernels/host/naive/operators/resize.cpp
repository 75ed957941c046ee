// resize, upsample
#include <algorithm>
#include <cmath>
#include <utility>

#include "../op.h"
#include "plan/geometry.h"

namespace lth {
namespace {

void nearest(const NaiveTensor& in, NaiveTensor& out) {
  for (int64_t nc = 0; nc < out.plane.n * out.plane.c; ++nc) {
    for (int64_t y = 0; y < out.plane.h; ++y) {
      for (int64_t x = 0; x < out.plane.w; ++x) {
        const int64_t iy = y * in.plane.h / out.plane.h, ix = x * in.plane.w / out.plane.w;
        out.channel(0, nc)[y * out.plane.w + x] = in.channel(0, nc)[iy * in.plane.w + ix];
      }
    }
  }
}

// Where pixel i of `to` lies among `from`: the pixel before it, and its distance from that.
std::pair<int64_t, double> position(Resampling resampling, int64_t i, int64_t from, int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to), index = static_cast<double>(i);
  const double at = resampling == Resampling::kHalfPixel ? (index + 0.5) * scale - 0.5 : index * scale;
  const double inside = std::min(std::max(at, 0.), static_cast<double>(from - 1));
  return {static_cast<int64_t>(inside), inside - std::floor(inside)};
}

void interpolate(Resampling resampling, const NaiveTensor& in, NaiveTensor& out) {
  for (int64_t nc = 0; nc < out.plane.n * out.plane.c; ++nc) {
    const double* from = in.channel(0, nc);
    for (int64_t y = 0; y < out.plane.h; ++y) {
      const auto [top, down] = position(resampling, y, in.plane.h, out.plane.h);
      const int64_t bottom = std::min(top + 1, in.plane.h - 1);
      for (int64_t x = 0; x < out.plane.w; ++x) {
        const auto [left, over] = position(resampling, x, in.plane.w, out.plane.w);
        const int64_t right = std::min(left + 1, in.plane.w - 1);
        const auto across = [&, left = left, over = over](int64_t row) {
          return from[row * in.plane.w + left] * (1 - over) + from[row * in.plane.w + right] * over;
        };
        out.channel(0, nc)[y * out.plane.w + x] = across(top) * (1 - down) + across(bottom) * down;
      }
    }
  }
}

void shape(const NaiveShapes& shapes, const Instr& instr, Plane& plane) {
  const Plane &in = shapes.planes[instr.args[0]], &like = shapes.planes[instr.args[1]];
  if (in.n != like.n) throw Error("batches differ");
  plane = {in.n, instr.channels, like.h, like.w};
}

void upsampled_shape(const NaiveShapes& shapes, const Instr& instr, Plane& plane) {
  const Plane& in = shapes.planes[instr.args[0]];
  plane = {in.n, instr.channels, in.h * instr.window.sh, in.w * instr.window.sw};
}

void run(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  const auto resampling = static_cast<Resampling>(instr.option);
  const NaiveTensor& in = run.tensor(instr.args[0]);
  if (resampling != Resampling::kNearest) return interpolate(resampling, in, out);
  nearest(in, out);
  out.exact = in.exact;
}

}  // namespace

extern constexpr NaiveOp kNaiveResize{shape, run}, kNaiveUpsample{upsampled_shape, run};

}  // namespace lth
