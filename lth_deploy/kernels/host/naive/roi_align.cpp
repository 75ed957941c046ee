#include "roi_align.h"

#include <algorithm>
#include <cmath>

#include "region.h"

namespace lth {
namespace {

constexpr double kMaxWork = 2e8;           // samples of one run
constexpr float kMaxCounted = 65536.f;     // samples of a bin in one direction that the oracle looks at
constexpr float kMaxSamples = 16777216.f;  // that a bin may have

// `y` and `x` are inside of the image, or not a pixel beyond.
double pixel(const float* plane, const Boxes& boxes, double y, double x) {
  y = std::clamp(y, 0., static_cast<double>(boxes.rows - 1));
  x = std::clamp(x, 0., static_cast<double>(boxes.columns - 1));
  const auto row = static_cast<int64_t>(y), column = static_cast<int64_t>(x);
  const int64_t below = std::min(row + 1, boxes.rows - 1), right = std::min(column + 1, boxes.columns - 1);
  const double v = y - static_cast<double>(row), u = x - static_cast<double>(column);
  const auto at = [&](int64_t r, int64_t c) { return static_cast<double>(plane[r * boxes.columns + c]); };
  return (1 - v) * ((1 - u) * at(row, column) + u * at(row, right)) + v * ((1 - u) * at(below, column) + u * at(below, right));
}

// One direction of a box: the samples of every bin, and where those of the image lie.
struct Side {
  double samples = 0;
  std::vector<std::vector<double>> inside;

  Side(const RoiAlign& how, float low, float high, int64_t bins, int64_t size) : inside(static_cast<size_t>(bins)) {
    const float shift = how.half_pixel ? .5f : 0.f;
    const float start = low * how.scale - shift;
    const float length = high * how.scale - shift - start;
    const float bin = (how.half_pixel ? length : std::max(length, 1.f)) / static_cast<float>(bins);
    const float count = how.samples ? static_cast<float>(how.samples) : std::ceil(bin);
    if (!(count > 0.f && count <= kMaxSamples)) return;
    if (count > kMaxCounted) throw TooLarge("too many samples for the oracle");
    samples = static_cast<double>(count);
    for (size_t b = 0; b < inside.size(); ++b) {
      for (float s = 0.f; s < count; ++s) {
        const float at = start + static_cast<float>(b) * bin + (s + .5f) * bin / count;
        if (at >= -1.f && at <= static_cast<float>(size)) inside[b].push_back(static_cast<double>(at));
      }
    }
  }

  double counted() const {
    double sum = 0;
    for (const std::vector<double>& bin : inside) sum += static_cast<double>(bin.size());
    return sum;
  }
};

double mean(const float* plane, const Boxes& boxes, const Side& rows, const Side& columns, size_t i, size_t j) {
  double sum = 0;
  for (double y : rows.inside[i]) {
    for (double x : columns.inside[j]) sum += pixel(plane, boxes, y, x);
  }
  return sum / std::max(rows.samples * columns.samples, 1.);
}

}  // namespace

std::vector<double> naive_roi_align(const RoiAlign& how, const Boxes& boxes) {
  std::vector<double> out;
  double work = static_cast<double>(boxes.count * boxes.channels) * static_cast<double>(how.height * how.width);
  for (int64_t box = 0; box < boxes.count; ++box) {
    const float* corner = boxes.corners + 4 * box;
    const Side rows(how, corner[1], corner[3], how.height, boxes.rows);
    const Side columns(how, corner[0], corner[2], how.width, boxes.columns);
    work += rows.counted() * columns.counted() * static_cast<double>(boxes.channels);
    if (work > kMaxWork) throw TooLarge("too many samples for the oracle");
    for (int64_t c = 0; c < boxes.channels; ++c) {
      const float* plane = boxes.features + (boxes.image[box] * boxes.channels + c) * boxes.rows * boxes.columns;
      for (size_t i = 0; i < rows.inside.size(); ++i) {
        for (size_t j = 0; j < columns.inside.size(); ++j) out.push_back(mean(plane, boxes, rows, columns, i, j));
      }
    }
  }
  return out;
}

}  // namespace lth
