#include "plan/tile_costs.h"

#include <algorithm>

#include "plan/caches.h"

namespace lth {
namespace {

constexpr int kPartHeight = 3;  // lines of a part of a pair's tile, one above the other, at most

struct Shape2 {
  int th, tw;
};

// The tile for which blocks are made, before the size of an image is known: of pairs, the largest part that is computed at
// once; of the shapes with as many lines, that which reads the fewest.
Shape2 usual_tile(const PackedConv& conv, const Isa& isa) {
  Shape2 best{1, 1};
  const int most = conv.pairs ? isa.pair_acc : isa.max_acc;
  for (int th = 1; th <= (conv.pairs ? kPartHeight : kMaxTileH); ++th) {
    const int tw = std::min(isa.max_tile_w, most / th);
    const int lines = th * tw, least = best.th * best.tw;
    if (lines > least || (lines == least && th + tw < best.th + best.tw)) best = {th, tw};
  }
  return best;
}

int reads(const Window& window, const Shape2& tile) {
  return ((tile.th - 1) * window.sh + window.kh) * ((tile.tw - 1) * window.sw + window.kw);
}

}  // namespace

// (A little over the size of the cache costs nothing.)
double missed(double bytes) { return std::max(0.0, 1 - 1.1 * static_cast<double>(caches().l1) / bytes); }

double parts_of(const PackedConv& conv, const Isa& isa, int th, int tw) {
  const double lines = static_cast<double>(th) * tw;
  if (!by_cost(conv, isa)) return std::max(1.0, lines / (conv.pairs ? isa.pair_acc : isa.max_acc));
  if (!conv.pairs) return 1;
  const int height = std::clamp(isa.pair_acc / tw, 1, kPartHeight);
  return (th + height - 1) / height;
}

bool by_cost(const PackedConv& conv, const Isa& isa) {
  const bool gains = conv.pairs ? conv.family != kRun : conv.family == kTile3;
  return gains && tuning_of(conv, isa).blocks_by_cost;
}

int blocks_by_cost(const PackedConv& conv, const Isa& isa, const Window& window, double records, int rows, int used,
                   int at_least) {
  const Costs& cost = tuning_of(conv, isa).costs;
  const Shape2 tile = usual_tile(conv, isa);
  const double lines = static_cast<double>(tile.th) * tile.tw, width = conv.pairs ? 2 : 1;
  const double parts = parts_of(conv, isa, tile.th, tile.tw);
  int best = at_least;
  double least = 0;
  for (int blocks = at_least; blocks <= std::max(used, at_least); ++blocks) {
    const int each = (used + blocks - 1) / blocks;
    const double share = missed(static_cast<double>(each) * reads(window, tile) * isa.lanes * 4);
    const double traffic = (blocks - 1) * lines * width * (cost.traffic + cost.crowded * lines);
    const double total = records * lines * cost.miss * share + rows * (traffic + blocks * cost.row * parts);
    if (blocks == at_least || total < least) best = blocks, least = total;
    if (share == 0) break;  // more blocks only add to the traffic
  }
  return best;
}

}  // namespace lth
