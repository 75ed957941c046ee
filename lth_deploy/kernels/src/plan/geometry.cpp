#include "plan/geometry.h"

#include <algorithm>

namespace lth {
namespace {

int ceil_div(int a, int b) { return (a + b - 1) / b; }

int floor_div(int a, int b) { return a >= 0 ? a / b : -ceil_div(-a, b); }

// One direction of a plane: pixels, pixels of a sub-image, sub-images.
struct Direction {
  int pixels, part, parts;
  int line_cells;  // cells from one line to the next in this direction
  int lane_step;   // lanes from one sub-image to the next
};

// Axis entry whose sub-image p reads pixel at[p] of the source (any value; outside is filled).
Axis gathered(const Direction& source, const int* at, int parts) {
  Axis axis;
  axis.plain = 0;
  for (int p = 0; p < parts; ++p) {
    const bool inside = at[p] >= 0 && at[p] < source.pixels;
    axis.inside[p] = inside ? -1 : 0;
    if (inside) axis.offset[p] = (at[p] % source.part) * source.line_cells + (at[p] / source.part) * source.lane_step;
  }
  return axis;
}

// Axis entry that reads the local position `local` of each lane's own sub-image, or of a neighbor beyond its rim.
Axis shifted(const Direction& source, int local) {
  Axis axis;
  axis.shift = floor_div(local, source.part);
  axis.source = local - axis.shift * source.part;
  bool whole = true;
  for (int p = 0; p < source.parts; ++p) {
    const int at = p * source.part + local;
    const bool inside = at >= 0 && at < source.pixels;
    axis.inside[p] = inside ? -1 : 0;
    whole = whole && inside;
  }
  axis.plain = axis.shift == 0 && whole;
  return axis;
}

std::vector<Axis> window_axis(const Direction& source, int out_part, int stride, int pad, int reach, bool aligned) {
  std::vector<Axis> axis;
  for (int i = 0; i < (out_part - 1) * stride + reach; ++i) {
    if (aligned) {
      axis.push_back(shifted(source, i - pad));
      continue;
    }
    int at[4];
    for (int p = 0; p < source.parts; ++p) at[p] = p * out_part * stride + i - pad;
    axis.push_back(gathered(source, at, source.parts));
  }
  return axis;
}

std::vector<Axis> nearest_axis(const Direction& source, int out_pixels, int out_part, bool aligned) {
  std::vector<Axis> axis;
  for (int i = 0; i < out_part; ++i) {
    if (aligned) {
      axis.push_back(shifted(source, i / 2));
      axis.back().plain = 1;  // lanes outside of the image hold nothing that is read
      continue;
    }
    int at[4];
    for (int p = 0; p < source.parts; ++p) {
      const int64_t to = p * out_part + i;
      at[p] = to < out_pixels ? static_cast<int>(to * source.pixels / out_pixels) : -1;
    }
    axis.push_back(gathered(source, at, source.parts));
  }
  return axis;
}

std::vector<Between> linear_axis(int in, int out, Resampling resampling) {
  std::vector<Between> axis(static_cast<size_t>(out));
  const int64_t whole = int64_t{2} * out;  // one pixel of the source
  for (int64_t i = 0; i < out; ++i) {
    int64_t at = resampling == Resampling::kHalfPixel ? (2 * i + 1) * in - out : 2 * i * in;
    at = std::min(std::max<int64_t>(at, 0), whole * (in - 1));
    Between& b = axis[static_cast<size_t>(i)];
    b.first = static_cast<int32_t>(at / whole);
    b.second = std::min(b.first + 1, in - 1);
    b.second_weight = static_cast<float>(static_cast<double>(at % whole) / static_cast<double>(whole));
    b.first_weight = static_cast<float>(static_cast<double>(whole - at % whole) / static_cast<double>(whole));
  }
  return axis;
}

// Pixel i of the output is pixel i / stride of phase i % stride; the next phase is phase_cells further on.
std::vector<Axis> phase_axis(const Direction& source, int out_pixels, int out_part, int stride, int phase_cells) {
  std::vector<Axis> axis;
  for (int i = 0; i < out_part; ++i) {
    int at[4];
    for (int p = 0; p < source.parts; ++p) at[p] = p * out_part + i < out_pixels ? (p * out_part + i) / stride : -1;
    axis.push_back(gathered(source, at, source.parts));
    for (int p = 0; p < source.parts; ++p) {
      if (at[p] >= 0) axis.back().offset[p] += (p * out_part + i) % stride * phase_cells;
    }
  }
  return axis;
}

Direction vertical(const PlaneShape& s, int lanes) { return {s.H, s.h, lanes / kGridX, s.w * lanes, kGridX}; }
Direction horizontal(const PlaneShape& s, int lanes) { return {s.W, s.w, kGridX, lanes, 1}; }

}  // namespace

PlaneShape plane_of(int H, int W, int grid_y) { return {H, W, ceil_div(H, grid_y), ceil_div(W, kGridX)}; }

PlaneShape plane_of_rows(int n, int grid_y) {
  const int W = ceil_div(n, grid_y);
  return {grid_y, W, 1, ceil_div(W, kGridX)};
}

Mapping window_map(const PlaneShape& in, const PlaneShape& out, const Window& k, int lanes) {
  Mapping map;
  map.source_w = in.w;
  map.aligned = in.h == k.sh * out.h && in.w == k.sw * out.w;
  map.rows = window_axis(vertical(in, lanes), out.h, k.sh, k.pt, (k.kh - 1) * k.dh + 1, map.aligned);
  map.columns = window_axis(horizontal(in, lanes), out.w, k.sw, k.pl, (k.kw - 1) * k.dw + 1, map.aligned);
  return map;
}

Mapping nearest_map(const PlaneShape& in, const PlaneShape& out, int lanes) {
  Mapping map;
  map.source_w = in.w;
  map.aligned = out.H == 2 * in.H && out.W == 2 * in.W && out.h == 2 * in.h && out.w == 2 * in.w;
  map.rows = nearest_axis(vertical(in, lanes), out.H, out.h, map.aligned);
  map.columns = nearest_axis(horizontal(in, lanes), out.W, out.w, map.aligned);
  return map;
}

LinearMapping linear_map(const PlaneShape& in, const PlaneShape& out, Resampling resampling) {
  LinearMapping map;
  map.rows = linear_axis(in.H, out.H, resampling);
  map.columns = linear_axis(in.W, out.W, resampling);
  if (resampling == Resampling::kHalfPixel && out.W == int64_t{2} * in.W) map.step = Step::kDoubled;
  if (resampling == Resampling::kHalfPixel && in.W == int64_t{2} * out.W) map.step = Step::kHalved;
  return map;
}

size_t linear_cells(const PlaneShape& in, const PlaneShape& out, int lanes) {
  return static_cast<size_t>(in.H) * in.W + static_cast<size_t>(2 * lanes / kGridX) * out.W;
}

Mapping phase_map(const PlaneShape& in, const PlaneShape& out, int sh, int sw, int phase_cells, int lanes) {
  Mapping map;
  map.source_w = in.w;
  map.aligned = false;
  map.rows = phase_axis(vertical(in, lanes), out.H, out.h, sh, sw * phase_cells);
  map.columns = phase_axis(horizontal(in, lanes), out.W, out.w, sw, phase_cells);
  return map;
}

}  // namespace lth
