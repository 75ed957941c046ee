#include "naive_roi_align.h"

#include <algorithm>

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

// One direction of a box.
struct Side {
  float start, bin;
  int64_t samples;

  Side(const RoiAlign& how, float low, float high, int64_t bins) : samples(how.samples) {
    const float shift = how.half_pixel ? .5f : 0.f;
    start = low * how.scale - shift;
    const float length = high * how.scale - shift - start;
    bin = (how.half_pixel ? length : std::max(length, 1.f)) / static_cast<float>(bins);
  }

  float at(int64_t i, int64_t sample) const {
    return start + static_cast<float>(i) * bin + (static_cast<float>(sample) + .5f) * bin / static_cast<float>(samples);
  }
};

double mean(const float* plane, const Boxes& boxes, const Side& y, const Side& x, int64_t i, int64_t j) {
  double sum = 0;
  for (int64_t s = 0; s < y.samples; ++s) {
    for (int64_t t = 0; t < x.samples; ++t) {
      sum += pixel(plane, boxes, static_cast<double>(y.at(i, s)), static_cast<double>(x.at(j, t)));
    }
  }
  return sum / static_cast<double>(y.samples * x.samples);
}

}  // namespace

std::vector<double> naive_roi_align(const RoiAlign& how, const Boxes& boxes) {
  std::vector<double> out;
  for (int64_t box = 0; box < boxes.count; ++box) {
    const float* corner = boxes.corners + 4 * box;
    const Side x(how, corner[0], corner[2], how.width), y(how, corner[1], corner[3], how.height);
    for (int64_t c = 0; c < boxes.channels; ++c) {
      const float* plane = boxes.pictures + (boxes.image[box] * boxes.channels + c) * boxes.rows * boxes.columns;
      for (int64_t i = 0; i < how.height; ++i) {
        for (int64_t j = 0; j < how.width; ++j) out.push_back(mean(plane, boxes, y, x, i, j));
      }
    }
  }
  return out;
}

}  // namespace lth
