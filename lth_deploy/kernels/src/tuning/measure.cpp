#include "tuning/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

#include "plan/caches.h"

namespace lth {
namespace {

constexpr int kRows = 4, kRecords = 192;  // of a row: enough that the ends of rows count little
constexpr int kRepeats = 16;             // of which the fastest counts: other work only slows down
constexpr double kTwoUnits = 1.25;       // multiply-adds a cycle, of which one unit has one at most

struct Form {
  bool is_int8, pairs;
};

double now() {
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The least time that `work` takes, in nanoseconds.
template <class Work>
double least_time(const Work& work) {
  work();
  double least = 0;
  for (int i = 0; i < kRepeats; ++i) {
    const double began = now();
    work();
    const double taken = now() - began;
    least = i == 0 ? taken : std::min(least, taken);
  }
  return least;
}

// Nanoseconds of a cycle of the core, by a chain of instructions with a known latency.
double cycle_time() {
  constexpr int kChain = 3000;
#if defined(__x86_64__)
  constexpr double kLatency = 3;  // of a multiplication, on everything since 2008
#else
  constexpr double kLatency = 1;  // of an addition
#endif
  size_t x = 3;
  const double time = least_time([&x] {
#pragma GCC unroll 10
    for (int i = 0; i < kChain; ++i) {
#if defined(__x86_64__)
      __asm__ volatile("imul %0, %0" : "+r"(x));
#elif defined(__aarch64__)
      __asm__ volatile("add %0, %0, %0" : "+r"(x));
#else
      x += x, __asm__ volatile("" : "+r"(x));
#endif
    }
  });
  return time / kChain / kLatency;
}

// Records of a 3x3 layer that read a packed tile of some size from its first channel to its last, as those of a row do.
class Probe {
 public:
  Probe(const Isa& isa, const Form& form) : isa_(isa), form_(form), tw_(std::min(4, isa.max_tile_w)) {
    th_ = std::min(3, (form.pairs ? isa.pair_acc : isa.max_acc) / tw_);
    th_ = std::max(th_, 1);
    value_.assign(size_t{kRows} * kRecords * (form.pairs ? 2 : 1), form.is_int8 ? 0x01010101 : 0x3f800000);
    count_.assign(kRows, kRecords);
    bias_.assign(2 * kRows, 0);
    accumulators_.assign(static_cast<size_t>(kRows) * 2 * lines() * isa.lanes + kAlign, 0.f);
  }

  int lines() const { return th_ * tw_; }

  // Nanoseconds of a record.
  double record_time(std::vector<float>& memory, size_t bytes) {
    const int pitch = isa_.max_tile_w + 2, channel_lines = pitch * (kMaxTileH + 2), line = isa_.lanes * 4;
    const int channels = std::max<int>(1, static_cast<int>(bytes / (static_cast<size_t>(channel_lines) * line)));
    offset_.clear();
    for (int i = 0; i < kRows * kRecords; ++i) {
      const int channel = i % kRecords * channels / kRecords, tap = i * 5 % 9;
      offset_.push_back(static_cast<uint16_t>((channel * channel_lines + tap / 3 * pitch + tap % 3) * line / kOffsetUnit));
    }
    Rows rows;
    rows.tile = aligned(memory);
    rows.offset = offset_.data(), rows.value = value_.data(), rows.count = count_.data(), rows.bias = bias_.data();
    rows.rows = kRows, rows.th = th_, rows.tw = tw_;
    rows.scratch = aligned(accumulators_);
    const RowsFn run = kernel();
    return least_time([&] { run(rows); }) / (kRows * kRecords);
  }

 private:
  static constexpr size_t kAlign = 16;  // floats of a cache line

  static float* aligned(std::vector<float>& memory) {
    const auto at = reinterpret_cast<uintptr_t>(memory.data());
    return memory.data() + (64 - at % 64) % 64 / sizeof(float);
  }

  RowsFn kernel() const {
    if (form_.is_int8) return form_.pairs ? isa_.int8->pair(kTile3, tw_) : isa_.int8->single(kTile3, th_, tw_);
    return form_.pairs ? isa_.pair(kTile3, tw_) : isa_.single(kTile3, th_, tw_);
  }

  const Isa& isa_;
  Form form_;
  int th_, tw_;
  std::vector<uint32_t> value_, bias_;
  std::vector<uint16_t> count_, offset_;
  std::vector<float> accumulators_;
};

double rounded_miss(double miss) { return std::min(1.0, std::max(0.0, std::round(miss * 10) / 10)); }

}  // namespace

TuningRecord measure_tuning(const Isa& isa) {
  const size_t small = caches().l1 / 2, large = std::min(size_t{400} << 10, caches().l2 / 2);
  const double missed = 1 - 1.1 * static_cast<double>(caches().l1) / static_cast<double>(large);
  constexpr size_t kReach = size_t{65536} * kOffsetUnit;
  std::vector<float> memory(kReach / sizeof(float) + 16, 1.f);
  TuningRecord record;
  const auto miss_of = [&](const Form& form, double& multiply_add) {
    Probe probe(isa, form);
    const double near = probe.record_time(memory, small), far = probe.record_time(memory, large);
    multiply_add = near / (probe.lines() * (form.pairs ? 2 : 1));
    return rounded_miss((far - near) / probe.lines() / multiply_add / missed);
  };
  double single = 0, pair = 0, other = 0;
  const double cycle = cycle_time();
  const double single_miss = miss_of({false, false}, single), pair_miss = miss_of({false, true}, pair);
  record.fma = std::min(single, pair) * kTwoUnits < cycle ? 2 : 1;
  if (record.fma == 1 || missed < .3) return record;
  record.single = single_miss, record.pair = pair_miss;
  record.int8_single = miss_of({true, false}, other), record.int8_pair = miss_of({true, true}, other);
  return record;
}

}  // namespace lth
