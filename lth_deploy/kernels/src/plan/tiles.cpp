// Which tiles cover a plane: large ones share their loads among more accumulators, but must fit the registers and what is left of the plane.
#include <algorithm>

#include "plan/plan.h"
#include "plan/tile_costs.h"

namespace lth {
namespace {

double tile_cost(const PackedConv& conv, const Isa& isa, int th, int tw, int footprint) {
  const Costs& cost = tuning_of(conv, isa).costs;
  const int width = conv.pairs ? 2 : 1;
  const double lines = static_cast<double>(th) * tw, parts = parts_of(conv, isa, th, tw);
  const double rows = static_cast<double>(conv.count.size());
  double inputs = 0;
  for (const Block& b : conv.blocks) inputs += static_cast<double>(std::max(b.channels.size(), b.taps.size()));
  const double tile_bytes = inputs / static_cast<double>(conv.blocks.size()) * footprint * isa.lanes * 4;
  const double record = lines * width + cost.record * parts + lines * cost.miss * missed(tile_bytes);
  const double traffic = lines * width * (cost.traffic + cost.crowded * lines) * (conv.blocks.size() > 1 ? 1 : .5);
  return rows * (conv.records_a_row * record + traffic + cost.row * parts) + inputs * footprint * cost.pack;
}

int stride_of(int family) { return family == kTile3 ? 1 : 2; }
int kernel_of(int family) { return family == kTile7Stride2 ? 7 : 3; }

int footprint_of(const PackedConv& conv, int th, int tw) {
  if (conv.family == kRun) return tw;
  const int s = stride_of(conv.family), k = kernel_of(conv.family);
  return ((th - 1) * s + k) * ((tw - 1) * s + k);
}

// Sizes of n parts of `total`, as equal as can be.
std::vector<int> balanced(int total, int n) {
  std::vector<int> sizes(n, total / n);
  for (int i = 0; i < total % n; ++i) ++sizes[i];
  return sizes;
}

double cover_cost(const PackedConv& conv, const Isa& isa, const std::vector<int>& heights,
                  const std::vector<int>& widths) {
  double cost = 0;
  for (int h : {heights.front(), heights.back()}) {
    for (int w : {widths.front(), widths.back()}) {
      const double n = static_cast<double>(std::count(heights.begin(), heights.end(), h)) *
                       static_cast<double>(std::count(widths.begin(), widths.end(), w));
      const double share = (heights.front() == heights.back() ? .5 : 1) * (widths.front() == widths.back() ? .5 : 1);
      cost += n * share * tile_cost(conv, isa, h, w, footprint_of(conv, h, w));
    }
  }
  return cost;
}

std::vector<Tile> runs(const PackedConv& conv, int lines, const Isa& isa) {
  std::vector<int> best;
  double least = 0;
  for (int n = (lines + isa.max_run - 1) / isa.max_run; n <= lines; ++n) {
    const std::vector<int> widths = balanced(lines, n);
    const double cost = cover_cost(conv, isa, {1}, widths);
    if (best.empty() || cost < least) best = widths, least = cost;
    if (widths.front() <= isa.max_run / 2) break;
  }
  std::vector<Tile> tiles;
  int at = 0;
  for (int w : best) {
    tiles.push_back({0, at, 1, w});
    at += w;
  }
  return tiles;
}

}  // namespace

std::vector<Tile> choose_tiles(const PackedConv& conv, const PlaneShape& out, const Isa& isa) {
  if (conv.family == kRun) return runs(conv, lines_of(out), isa);
  std::vector<int> best_h, best_w;
  double least = 0;
  for (int nx = (out.w + isa.max_tile_w - 1) / isa.max_tile_w; nx <= out.w; ++nx) {
    const std::vector<int> widths = balanced(out.w, nx);
    for (int ny = (out.h + kMaxTileH - 1) / kMaxTileH; ny <= out.h; ++ny) {
      const std::vector<int> heights = balanced(out.h, ny);
      if (!conv.pairs && heights.front() * widths.front() > isa.max_acc) continue;
      const double cost = cover_cost(conv, isa, heights, widths);
      if (best_h.empty() || cost < least) best_h = heights, best_w = widths, least = cost;
      if (heights.front() == 1) break;
    }
    if (widths.front() == 1) break;
  }
  std::vector<Tile> tiles;
  int y = 0;
  for (int th : best_h) {
    int x = 0;
    for (int tw : best_w) {
      tiles.push_back({y, x, th, tw});
      x += tw;
    }
    y += th;
  }
  return tiles;
}

}  // namespace lth
