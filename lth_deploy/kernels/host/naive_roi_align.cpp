// RoiAlign from its definition, one sample at a time: it stands in for the kernel where the oracle does.
#include <algorithm>

#include "../src/roi_align.h"

namespace lth {
namespace {

double pixel(const float* plane, const Boxes& boxes, double y, double x) {
  if (!(y >= -1 && y <= static_cast<double>(boxes.rows) && x >= -1 && x <= static_cast<double>(boxes.columns))) return 0;
  y = std::clamp(y, 0., static_cast<double>(boxes.rows - 1));
  x = std::clamp(x, 0., static_cast<double>(boxes.columns - 1));
  const auto row = static_cast<int64_t>(y), column = static_cast<int64_t>(x);
  const int64_t below = std::min(row + 1, boxes.rows - 1), right = std::min(column + 1, boxes.columns - 1);
  const double v = y - static_cast<double>(row), u = x - static_cast<double>(column);
  const auto at = [&](int64_t r, int64_t c) { return static_cast<double>(plane[r * boxes.columns + c]); };
  return (1 - v) * ((1 - u) * at(row, column) + u * at(row, right)) + v * ((1 - u) * at(below, column) + u * at(below, right));
}

// The mean over the samples of bin (i, j) of a box with its corner at (y, x).
double bin(const RoiAlign& how, const Boxes& boxes, const float* plane, double y, double x, double height, double width,
           int64_t i, int64_t j) {
  double sum = 0;
  const auto n = static_cast<double>(how.samples);
  const double tall = height / static_cast<double>(how.height), wide = width / static_cast<double>(how.width);
  for (int64_t s = 0; s < how.samples; ++s) {
    for (int64_t t = 0; t < how.samples; ++t) {
      sum += pixel(plane, boxes, y + tall * (static_cast<double>(i) + (static_cast<double>(s) + .5) / n),
                   x + wide * (static_cast<double>(j) + (static_cast<double>(t) + .5) / n));
    }
  }
  return sum / (n * n);
}

}  // namespace

void roi_align(const RoiAlign& how, const Boxes& boxes, const std::string&, Parallel&, float* out) {
  for (int64_t box = 0; box < boxes.count; ++box) {
    const float* corner = boxes.corners + 4 * box;
    const double shift = how.half_pixel ? .5 : 0, least = how.half_pixel ? -1e30 : 1;
    const double x = static_cast<double>(corner[0]) * static_cast<double>(how.scale) - shift;
    const double y = static_cast<double>(corner[1]) * static_cast<double>(how.scale) - shift;
    const double width = std::max(static_cast<double>(corner[2]) * static_cast<double>(how.scale) - shift - x, least);
    const double height = std::max(static_cast<double>(corner[3]) * static_cast<double>(how.scale) - shift - y, least);
    for (int64_t c = 0; c < boxes.channels; ++c) {
      const float* plane = boxes.pictures + (boxes.image[box] * boxes.channels + c) * boxes.rows * boxes.columns;
      for (int64_t i = 0; i < how.height; ++i) {
        for (int64_t j = 0; j < how.width; ++j) {
          *out++ = static_cast<float>(bin(how, boxes, plane, y, x, height, width, i, j));
        }
      }
    }
  }
}

}  // namespace lth
