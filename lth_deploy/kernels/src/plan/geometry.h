// The lane layout. A plane of H x W pixels is cut into a grid of gy x 4 sub-images of h x w pixels, one a lane: line
// (y, x) holds in lane (ly, lx) the pixel (ly * h + y, lx * w + x). A tap of a convolution then is the same lane of
// another line, an aligned load; only at the rim of a sub-image does it come from a neighboring lane.
#pragma once

#include <vector>

#include "isa/isa.h"
#include "program/program.h"

namespace lth {

PlaneShape plane_of(int H, int W, int grid_y);

// A plane on which n rows of a matrix lie, row by row.
PlaneShape plane_of_rows(int n, int grid_y);

inline int lines_of(const PlaneShape& s) { return s.h * s.w; }

inline bool same_plane(const PlaneShape& a, const PlaneShape& b) {
  return a.H == b.H && a.W == b.W && a.h == b.h && a.w == b.w;
}

// Owns the axes of a LineMap.
struct Mapping {
  std::vector<Axis> rows, columns;
  int source_w = 0;
  bool aligned = true;

  LineMap view() const { return {rows.data(), columns.data(), source_w, aligned}; }
};

// How the windows of `out` read `in`. The lanes agree where the sub-images of `in` are stride times those of `out`.
Mapping window_map(const PlaneShape& in, const PlaneShape& out, const Window& window, int lanes);

// How each line of `out` reads its nearest pixel of `in`: floor(i * in / out).
Mapping nearest_map(const PlaneShape& in, const PlaneShape& out, int lanes);

// What a resize makes of the pixels around a position: the one at floor(i * in / out), or a bilinear mean at
// (i + 1/2) * in / out - 1/2 or at i * in / out.
enum class Resampling { kNearest, kHalfPixel, kAsymmetric };

// Owns the positions of a LinearMap.
struct LinearMapping {
  std::vector<Between> rows, columns;
  Step step = Step::kAny;

  LinearMap view() const { return {rows.data(), columns.data(), step}; }
};

// Where the pixels of `out` lie between those of `in`; beyond the outermost ones are these.
LinearMapping linear_map(const PlaneShape& in, const PlaneShape& out, Resampling resampling);

// Cells of the scratch memory in which that is done.
size_t linear_cells(const PlaneShape& in, const PlaneShape& out, int lanes);

// How `out`, (sh, sw) times as large as `in`, reads its phases: those pixels whose row modulo sh is ky and whose column
// modulo sw is kx lie in the plane of phase ky * sw + kx, that many times phase_cells behind the first.
Mapping phase_map(const PlaneShape& in, const PlaneShape& out, int sh, int sw, int phase_cells, int lanes);

}  // namespace lth
