// Images are brought to channels last, so that a bin is a sum of whole vectors of channels.
#include "execute/roi_align.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>
#include <vector>

#include "execute/tasks.h"
#include "isa/dispatch.h"

namespace lth {
namespace {

constexpr int64_t kBlock = 16;              // pixels, or channels, that are transposed together
constexpr float kMostSamples = 16777216.f;  // of a bin in one direction: beyond, float32 does not count

// A row or a column of pixels, and what it weighs in a bin.
struct Line {
  int64_t at;
  float weight;
};

// Lines of all bins in one direction, those of bin b from ends[b] to ends[b + 1].
struct Side {
  std::vector<Line> lines;
  std::vector<size_t> ends;
};

// What a worker needs for one box.
struct Scratch {
  Side rows, columns;
  std::vector<const float*> at;
  std::vector<float> weight;
  AlignedBytes sums;  // [bins][channels]
};

int64_t rounded_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

int64_t samples_of(const RoiAlign& how, float bin) {
  if (how.samples > 0) return how.samples;
  const float samples = std::ceil(bin);
  return samples >= 1.f && samples <= kMostSamples ? static_cast<int64_t>(samples) : 0;  // no number is none too
}

// Samples move in one direction: if a line has been met before, it was lately.
void add_line(Side& to, int64_t at, float weight) {
  if (weight == 0.f) return;
  const size_t count = to.lines.size(), oldest = std::max(to.ends.back(), count - std::min<size_t>(count, 3));
  for (size_t i = count; i > oldest; --i) {
    Line& line = to.lines[i - 1];
    if (line.at != at) continue;
    line.weight += weight;
    return;
  }
  to.lines.push_back({at, weight});
}

void add_sample(Side& to, float at, int64_t size, float share) {
  if (!(at >= -1.f && at <= static_cast<float>(size))) return;  // no number is outside too
  const float inside = std::max(at, 0.f);
  const int64_t low = std::min(static_cast<int64_t>(inside), size - 1), high = std::min(low + 1, size - 1);
  const float high_weight = high == low ? 0.f : inside - static_cast<float>(low);
  add_line(to, low, (1.f - high_weight) * share);
  add_line(to, high, high_weight * share);
}

// The samples of a bin from `corner` on that may lie inside of the image, as first and end: however many a box has, these
// are not many more than pixels.
std::pair<int64_t, int64_t> inside(double corner, double step, int64_t samples, int64_t size) {
  constexpr double kSlack = 16;  // more than roundings move
  const auto bounded = [&](double at) { return static_cast<int64_t>(std::clamp(at, 0., static_cast<double>(samples))); };
  return {bounded((-1 - corner) / step - kSlack), bounded((static_cast<double>(size) - corner) / step + kSlack)};
}

// The bins of a box between two of its corners. Every sample is placed as ONNX Runtime does, rounding for rounding.
void fill(const RoiAlign& how, float low, float high, int64_t bins, int64_t size, Side& to) {
  const float shift = how.half_pixel ? .5f : 0.f;
  const float start = low * how.scale - shift;
  const float length = high * how.scale - shift - start;
  const float bin = (how.half_pixel ? length : std::max(length, 1.f)) / static_cast<float>(bins);
  const int64_t samples = samples_of(how, bin);
  const auto count = static_cast<float>(samples);
  to.lines.clear();
  to.ends.assign(1, 0);
  for (int64_t b = 0; b < bins; ++b) {
    const float corner = start + static_cast<float>(b) * bin;
    auto [sample, end] = std::pair<int64_t, int64_t>(0, samples);
    if (samples > kMaxFixedSamples) std::tie(sample, end) = inside(corner, bin / count, samples, size);
    for (; sample < end; ++sample) {
      add_sample(to, corner + (static_cast<float>(sample) + .5f) * bin / count, size, 1.f / count);
    }
    to.ends.push_back(to.lines.size());
  }
}

class Pooling {
 public:
  Pooling(const RoiAlign& how, const Boxes& boxes, const Isa& isa)
      : how_(how), boxes_(boxes), isa_(isa), padded_(rounded_up(boxes.channels, isa.lanes)),
        pixels_(boxes.rows * boxes.columns), bins_(how.height * how.width) {}

  void run(Parallel& parallel, float* out) {
    const size_t cells = static_cast<size_t>(boxes_.images * pixels_ * padded_);
    picture_ = static_cast<float*>(memory_.at_least(cells * sizeof(float)));
    const int64_t blocks = (pixels_ + kBlock - 1) / kBlock;
    for_each_task(parallel, boxes_.images * blocks, [&](int, int64_t task) {
      channels_last(task / blocks, task % blocks * kBlock);
    });
    std::vector<Scratch> scratch(kMaxWorkers);
    for_each_task(parallel, boxes_.count,
                  [&](int worker, int64_t box) { pool(box, scratch[static_cast<size_t>(worker)], out); });
  }

 private:
  void channels_last(int64_t image, int64_t first) {
    const float* from = boxes_.features + image * boxes_.channels * pixels_ + first;
    float* to = picture_ + (image * pixels_ + first) * padded_;
    const int64_t count = std::min(kBlock, pixels_ - first);
    for (int64_t c = 0; c < boxes_.channels; ++c) {
      for (int64_t p = 0; p < count; ++p) to[p * padded_ + c] = from[c * pixels_ + p];
    }
    for (int64_t p = 0; p < count; ++p) std::fill(to + p * padded_ + boxes_.channels, to + (p + 1) * padded_, 0.f);
  }

  void pool(int64_t box, Scratch& own, float* out) const {
    const float* corner = boxes_.corners + 4 * box;
    fill(how_, corner[1], corner[3], how_.height, boxes_.rows, own.rows);
    fill(how_, corner[0], corner[2], how_.width, boxes_.columns, own.columns);
    float* sums = static_cast<float*>(own.sums.at_least(static_cast<size_t>(bins_ * padded_) * sizeof(float)));
    const float* picture = picture_ + boxes_.image[box] * pixels_ * padded_;
    for (int64_t bin = 0; bin < bins_; ++bin) {
      gather(picture, static_cast<size_t>(bin / how_.width), static_cast<size_t>(bin % how_.width), own);
      isa_.weighted_sum(own.at.data(), own.weight.data(), static_cast<int>(own.at.size()),
                        static_cast<int>(padded_ / isa_.lanes), sums + bin * padded_);
    }
    channels_first(sums, out + box * boxes_.channels * bins_);
  }

  // The pixels that weigh something in a bin.
  void gather(const float* picture, size_t row, size_t column, Scratch& own) const {
    own.at.clear();
    own.weight.clear();
    for (size_t i = own.rows.ends[row]; i < own.rows.ends[row + 1]; ++i) {
      const Line& y = own.rows.lines[i];
      for (size_t j = own.columns.ends[column]; j < own.columns.ends[column + 1]; ++j) {
        const Line& x = own.columns.lines[j];
        own.at.push_back(picture + (y.at * boxes_.columns + x.at) * padded_);
        own.weight.push_back(y.weight * x.weight);
      }
    }
  }

  void channels_first(const float* sums, float* out) const {
    for (int64_t first = 0; first < boxes_.channels; first += kBlock) {
      const int64_t last = std::min(first + kBlock, boxes_.channels);
      for (int64_t bin = 0; bin < bins_; ++bin) {
        for (int64_t c = first; c < last; ++c) out[c * bins_ + bin] = sums[bin * padded_ + c];
      }
    }
  }

  const RoiAlign& how_;
  const Boxes& boxes_;
  const Isa& isa_;
  const int64_t padded_, pixels_, bins_;
  AlignedBytes memory_;
  float* picture_ = nullptr;
};

}  // namespace

void roi_align(const RoiAlign& how, const Boxes& boxes, const std::string& isa, Parallel& parallel, float* out) {
  Pooling(how, boxes, choose_isa(isa)).run(parallel, out);
}

}  // namespace lth
