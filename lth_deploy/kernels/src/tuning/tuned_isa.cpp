#include "tuning/tuned_isa.h"

#include <map>
#include <memory>
#include <mutex>

#include "isa/dispatch.h"
#include "tuning/measure.h"

namespace lth {
namespace {

// Of the time that lost lines take in a loop without an end, so much is left in layers: the rest passes beside the ends of
// rows and the copying of tiles. Fitted to layers of ResNet-18-FPN on a processor of the Zen 5 generation.
constexpr double kExposed = .7;

// What the record says, in the place of the constants of one processor. Costs are in multiply-adds: where more of these
// start in a cycle than on the processor whose constants they are, all else costs more of them.
void adjust(Tuning& tuning, const TuningRecord& record, const std::optional<double>& miss) {
  tuning.blocks_by_cost = tuning.blocks_by_cost && record.fma > 1;
  Costs& costs = tuning.costs;
  if (miss) costs.miss = kExposed * *miss;
  if (!tuning.blocks_by_cost) return;
  for (double* cost : {&costs.row, &costs.traffic, &costs.crowded, &costs.pack}) *cost *= record.fma;
}

struct TunedIsa {
  Isa isa;
  Int8Kernels int8;
  Bf16Kernels bf16;

  TunedIsa(const Isa& chosen, const TuningRecord& record) : isa(chosen), int8(*chosen.int8), bf16(*chosen.bf16) {
    adjust(isa.single_tuning, record, record.single);
    adjust(isa.pair_tuning, record, record.pair);
    adjust(int8.single_tuning, record, record.int8_single);
    adjust(int8.pair_tuning, record, record.int8_pair);
    adjust(bf16.single_tuning, record, record.single);
    adjust(bf16.pair_tuning, record, record.pair);
    isa.int8 = &int8;
    isa.bf16 = &bf16;
  }
  TunedIsa(const TunedIsa&) = delete;
  TunedIsa& operator=(const TunedIsa&) = delete;
};

// Regions keep pointers to what is in here, so nothing is ever removed.
class Cache {
 public:
  TuningRecord record_of(const Isa& isa, const std::string& text) {
    if (!text.empty()) return parse_tuning(text, isa.name);
    const std::lock_guard<std::mutex> hold(lock_);
    const auto at = measured_.find(isa.name);
    return at != measured_.end() ? at->second : measured_.emplace(isa.name, measure_tuning(isa)).first->second;
  }

  const Isa& tuned(const Isa& isa, const TuningRecord& record) {
    const std::string key = described(record, isa.name);
    const std::lock_guard<std::mutex> hold(lock_);
    std::unique_ptr<const TunedIsa>& made = tuned_[key];
    if (made == nullptr) made = std::make_unique<const TunedIsa>(isa, record);
    return made->isa;
  }

 private:
  std::mutex lock_;
  std::map<std::string, TuningRecord> measured_;
  std::map<std::string, std::unique_ptr<const TunedIsa>> tuned_;
};

Cache& cache() {
  static auto* const all = new Cache;  // outlives every session
  return *all;
}

}  // namespace

const Isa& tuned_isa(const std::string& name, const std::string& tuning) {
  const Isa& isa = choose_isa(name);
  return cache().tuned(isa, cache().record_of(isa, tuning));
}

TuningRecord tuning_record(const std::string& name, const std::string& tuning) {
  return cache().record_of(choose_isa(name), tuning);
}

}  // namespace lth
