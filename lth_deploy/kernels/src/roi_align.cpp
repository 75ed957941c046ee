// Pictures are brought to channels last, so that a bin is a sum of whole vectors of channels.
#include "roi_align.h"

#include <algorithm>
#include <vector>

#include "isa_choice.h"
#include "tasks.h"

namespace lth {
namespace {

constexpr int64_t kBlock = 16;  // pixels, or channels, that are transposed together

// Where a sample lies between two rows, or columns; both weights are 0 outside of the picture.
struct Sample {
  int64_t low = 0, high = 0;
  float low_weight = 0.f, high_weight = 0.f;
};

// What a worker needs for one box.
struct Scratch {
  std::vector<Sample> rows, columns;
  std::vector<const float*> at;
  std::vector<float> weight;
  AlignedBytes sums;  // [bins][channels]
};

int64_t rounded_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

Sample sample_at(float at, int64_t size) {
  Sample found;
  if (!(at >= -1.f && at <= static_cast<float>(size))) return found;  // no number is outside too
  const float inside = std::max(at, 0.f);
  found.low = std::min(static_cast<int64_t>(inside), size - 1);
  found.high = std::min(found.low + 1, size - 1);
  found.high_weight = found.high == found.low ? 0.f : inside - static_cast<float>(found.low);
  found.low_weight = 1.f - found.high_weight;
  return found;
}

// The samples of all bins from `start` on, in one direction.
void fill(float start, float length, int64_t bins, int64_t samples, int64_t size, std::vector<Sample>& to) {
  const float bin = length / static_cast<float>(bins);
  to.clear();
  for (int64_t b = 0; b < bins; ++b) {
    for (int64_t s = 0; s < samples; ++s) {
      const float within = (static_cast<float>(s) + .5f) * bin / static_cast<float>(samples);
      to.push_back(sample_at(start + static_cast<float>(b) * bin + within, size));
    }
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
    const float* from = boxes_.pictures + image * boxes_.channels * pixels_ + first;
    float* to = picture_ + (image * pixels_ + first) * padded_;
    const int64_t count = std::min(kBlock, pixels_ - first);
    for (int64_t c = 0; c < boxes_.channels; ++c) {
      for (int64_t p = 0; p < count; ++p) to[p * padded_ + c] = from[c * pixels_ + p];
    }
    for (int64_t p = 0; p < count; ++p) std::fill(to + p * padded_ + boxes_.channels, to + (p + 1) * padded_, 0.f);
  }

  void pool(int64_t box, Scratch& own, float* out) const {
    const float* corner = boxes_.corners + 4 * box;
    const float shift = how_.half_pixel ? .5f : 0.f;
    const float x = corner[0] * how_.scale - shift, y = corner[1] * how_.scale - shift;
    float width = corner[2] * how_.scale - shift - x, height = corner[3] * how_.scale - shift - y;
    if (!how_.half_pixel) width = std::max(width, 1.f), height = std::max(height, 1.f);
    fill(y, height, how_.height, how_.samples, boxes_.rows, own.rows);
    fill(x, width, how_.width, how_.samples, boxes_.columns, own.columns);
    float* sums = static_cast<float*>(own.sums.at_least(static_cast<size_t>(bins_ * padded_) * sizeof(float)));
    const float* picture = picture_ + boxes_.image[box] * pixels_ * padded_;
    for (int64_t bin = 0; bin < bins_; ++bin) {
      gather(picture, bin / how_.width, bin % how_.width, own);
      isa_.weighted_sum(own.at.data(), own.weight.data(), static_cast<int>(own.at.size()),
                        static_cast<int>(padded_ / isa_.lanes), sums + bin * padded_);
    }
    channels_first(sums, out + box * boxes_.channels * bins_);
  }

  // The corners around all samples of a bin, those that weigh something.
  void gather(const float* picture, int64_t row, int64_t column, Scratch& own) const {
    own.at.clear();
    own.weight.clear();
    const float share = 1.f / static_cast<float>(how_.samples * how_.samples);
    const auto add = [&](int64_t y, int64_t x, float weight) {
      if (weight == 0.f) return;
      own.at.push_back(picture + (y * boxes_.columns + x) * padded_);
      own.weight.push_back(weight * share);
    };
    for (int64_t i = row * how_.samples; i < (row + 1) * how_.samples; ++i) {
      const Sample& y = own.rows[static_cast<size_t>(i)];
      for (int64_t j = column * how_.samples; j < (column + 1) * how_.samples; ++j) {
        const Sample& x = own.columns[static_cast<size_t>(j)];
        add(y.low, x.low, y.low_weight * x.low_weight);
        add(y.low, x.high, y.low_weight * x.high_weight);
        add(y.high, x.low, y.high_weight * x.low_weight);
        add(y.high, x.high, y.high_weight * x.high_weight);
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
