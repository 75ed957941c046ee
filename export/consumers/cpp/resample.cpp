#include "resample.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

namespace {

Image blank(int64_t height, int64_t width) {
  Image image;
  image.height = height;
  image.width = width;
  image.rgb.resize(static_cast<size_t>(3 * height * width));
  return image;
}

// Pillow's weights are whole numbers of 22 bits behind the point: src/libImaging/Resample.c.
constexpr int kFraction = 22;

using Filter = double (*)(double);

double triangle(double x) { return std::abs(x) < 1 ? 1 - std::abs(x) : 0; }

double cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

// Which pixels one new pixel is made of.
struct Weights {
  int64_t first;
  std::vector<int32_t> values;
};

std::vector<Weights> weights_of(int64_t from, int64_t to, Filter filter, double reach) {
  std::vector<Weights> found(static_cast<size_t>(to));
  const double scale = static_cast<double>(from) / static_cast<double>(to), wide = std::max(scale, 1.0);
  const double support = reach * wide, narrow = 1.0 / wide;
  for (int64_t i = 0; i < to; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(static_cast<int64_t>(center - support + 0.5), 0);
    const int64_t end = std::min<int64_t>(static_cast<int64_t>(center + support + 0.5), from);
    std::vector<double> exact;
    double sum = 0;
    for (int64_t x = 0; x < end - first; ++x) {
      exact.push_back(filter((static_cast<double>(x + first) - center + 0.5) * narrow));
      sum += exact.back();
    }
    Weights& one = found[static_cast<size_t>(i)];
    one.first = first;
    for (double weight : exact) {
      if (sum != 0) weight /= sum;
      weight *= 1 << kFraction;
      one.values.push_back(static_cast<int32_t>(weight < 0 ? weight - 0.5 : weight + 0.5));
    }
  }
  return found;
}

uint8_t clipped(int32_t sum) { return static_cast<uint8_t>(std::min(std::max(sum >> kFraction, 0), 255)); }

Image across(const Image& image, int64_t width, Filter filter, double reach) {
  Image found = blank(image.height, width);
  const std::vector<Weights> weights = weights_of(image.width, width, filter, reach);
  for (int64_t y = 0; y < image.height; ++y) {
    uint8_t* out = &found.rgb[static_cast<size_t>(3 * y * width)];
    for (const Weights& one : weights) {
      const uint8_t* in = image.rgb.data() + 3 * (y * image.width + one.first);
      int32_t sums[3] = {1 << (kFraction - 1), 1 << (kFraction - 1), 1 << (kFraction - 1)};
      for (const int32_t weight : one.values) {
        for (int c = 0; c < 3; ++c) sums[c] += weight * *in++;
      }
      for (const int32_t sum : sums) *out++ = clipped(sum);
    }
  }
  return found;
}

Image down(const Image& image, int64_t height, Filter filter, double reach) {
  Image found = blank(height, image.width);
  const int64_t line = 3 * image.width;
  const std::vector<Weights> weights = weights_of(image.height, height, filter, reach);
  std::vector<int32_t> sums(static_cast<size_t>(line));
  for (int64_t y = 0; y < height; ++y) {
    const Weights& one = weights[static_cast<size_t>(y)];
    std::fill(sums.begin(), sums.end(), 1 << (kFraction - 1));
    const uint8_t* in = image.rgb.data() + one.first * line;
    for (const int32_t weight : one.values) {
      for (int64_t x = 0; x < line; ++x) sums[static_cast<size_t>(x)] += weight * in[x];
      in += line;
    }
    std::transform(sums.begin(), sums.end(), found.rgb.begin() + y * line, clipped);
  }
  return found;
}

Image antialiased(const Image& image, int64_t height, int64_t width, Filter filter, double reach, bool down_first) {
  if (width == image.width) return down(image, height, filter, reach);
  if (height == image.height) return across(image, width, filter, reach);
  if (down_first) return across(down(image, height, filter, reach), width, filter, reach);
  return down(across(image, width, filter, reach), height, filter, reach);
}

// The pixel before each position, the one behind it, and how far behind the first it lies.
struct Between {
  int64_t before, behind;
  float share;
};

std::vector<Between> between(const std::vector<double>& positions, int64_t size) {
  std::vector<Between> found;
  for (const double position : positions) {
    const double inside = std::min(std::max(position, 0.0), static_cast<double>(size - 1));
    const double first = std::floor(inside);
    const auto before = static_cast<int64_t>(first);
    found.push_back({before, std::min(before + 1, size - 1), static_cast<float>(inside - first)});
  }
  return found;
}

Image sampled(const Image& image, const std::vector<double>& rows, const std::vector<double>& columns) {
  Image found = blank(static_cast<int64_t>(rows.size()), static_cast<int64_t>(columns.size()));
  const std::vector<Between> across = between(columns, image.width);
  std::vector<float> line(static_cast<size_t>(3 * image.width));
  uint8_t* out = found.rgb.data();
  for (const Between& row : between(rows, image.height)) {
    const uint8_t* const upper = image.rgb.data() + 3 * row.before * image.width;
    const uint8_t* const lower = image.rgb.data() + 3 * row.behind * image.width;
    for (size_t x = 0; x < line.size(); ++x) {
      const auto above = static_cast<float>(upper[x]);
      line[x] = above + (static_cast<float>(lower[x]) - above) * row.share;
    }
    for (const Between& column : across) {
      const float* const left = &line[static_cast<size_t>(3 * column.before)];
      const float* const right = &line[static_cast<size_t>(3 * column.behind)];
      for (int c = 0; c < 3; ++c) {
        *out++ = static_cast<uint8_t>(std::nearbyint(left[c] + (right[c] - left[c]) * column.share));
      }
    }
  }
  return found;
}

std::vector<double> centers(int64_t from, int64_t to) {
  std::vector<double> found;
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  for (int64_t i = 0; i < to; ++i) found.push_back((static_cast<double>(i) + 0.5) * scale - 0.5);
  return found;
}

}  // namespace

Image resized(const Image& image, int64_t height, int64_t width, const std::string& method, bool down_first) {
  if (height < 1 || width < 1) throw std::runtime_error("an image cannot get a size of 0");
  if (height == image.height && width == image.width) return image;
  if (method == "bilinear") return sampled(image, centers(image.height, height), centers(image.width, width));
  if (method == "bilinear-antialiased") return antialiased(image, height, width, triangle, 1, down_first);
  if (method == "bicubic-antialiased") return antialiased(image, height, width, cubic, 2, down_first);
  throw std::runtime_error("images are not resized by the method " + method);
}

Image warped(const Image& image, const std::vector<double>& rows, const std::vector<double>& columns,
             const uint8_t* pad) {
  Image framed = blank(image.height + 2, image.width + 2);
  for (size_t i = 0; i < framed.rgb.size(); ++i) framed.rgb[i] = pad[i % 3];
  for (int64_t y = 0; y < image.height; ++y) {
    const auto from = image.rgb.begin() + 3 * y * image.width;
    std::copy(from, from + 3 * image.width, framed.rgb.begin() + 3 * ((y + 1) * framed.width + 1));
  }
  std::vector<double> down = rows, right = columns;
  for (double& one : down) one += 1;
  for (double& one : right) one += 1;
  return sampled(framed, down, right);
}

Image upright(Image image, int64_t orientation) {
  if (orientation == 1) return image;
  const bool swaps = orientation >= 5;
  const bool rows = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
  const bool columns = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
  Image found = swaps ? blank(image.width, image.height) : blank(image.height, image.width);
  uint8_t* out = found.rgb.data();
  for (int64_t y = 0; y < found.height; ++y) {
    for (int64_t x = 0; x < found.width; ++x) {
      const int64_t down = rows ? found.height - 1 - y : y, across = columns ? found.width - 1 - x : x;
      const int64_t from = swaps ? across * image.width + down : down * image.width + across;
      for (int c = 0; c < 3; ++c) *out++ = image.rgb[static_cast<size_t>(3 * from + c)];
    }
  }
  return found;
}
