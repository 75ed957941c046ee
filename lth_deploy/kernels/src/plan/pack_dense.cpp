#include "plan/pack_dense.h"

#include <algorithm>

#include "plan/caches.h"
#include "plan/entries.h"
#include "plan/pack_gathered.h"
#include "plan/plan.h"

namespace lth {
namespace {

// Share of the cells with any weight from which on the dense form is faster in any layer.
constexpr double kSurelyDense = .35;

// Cycles of a product of tiles, of loading a tile, of copying a line, and of starting a task.
constexpr double kProduct = 16, kLoad = 14, kCopy = 5, kStart = 500;

constexpr int kRunLines = 16 * kMatrixLines;

int ceil_div(int a, int b) { return (a + b - 1) / b; }

// Cells that a step leaves empty count as zeros.
DenseWeights shape_of(DenseForm form, int cells, const Window& k) {
  DenseWeights w;
  w.form = form;
  w.cells = cells;
  if (form == DenseForm::kSharedColumns) {
    w.outer = k.kh;
    w.inner = ceil_div(cells, kMatrixRows);
    w.columns = k.kw;
  } else {
    w.inner = static_cast<int>((static_cast<int64_t>(k.kh) * k.kw * cells + kMatrixRows - 1) / kMatrixRows);
  }
  return w;
}

DenseWeights best_shape(int cells, const Window& k) {
  const DenseWeights whole = shape_of(DenseForm::kWholeWindow, cells, k);
  if (k.kh != 3 || k.kw != 3 || k.sh != k.sw || k.sh > 2) return whole;
  const DenseWeights shared = shape_of(DenseForm::kSharedColumns, cells, k);
  return whole.group_rows() * 5 < shared.group_rows() * 4 ? whole : shared;
}

// Cell of the tiles that holds a weight.
size_t place_of(const DenseWeights& w, const Entry& e, const Window& k) {
  size_t tile = 0, cell = 0;
  if (w.form == DenseForm::kSharedColumns) {
    tile = (static_cast<size_t>(e.ky) * w.inner + e.channel / kMatrixRows) * w.columns + e.kx;
    cell = e.channel % kMatrixRows;
  } else {
    const size_t at = (static_cast<size_t>(e.kx) * k.kh + e.ky) * w.cells + e.channel;
    tile = at / kMatrixRows, cell = at % kMatrixRows;
  }
  const size_t row = e.row / kMatrixRows * w.group_rows() + tile * kMatrixRows + e.row % kMatrixRows;
  return row * kMatrixRows + cell;
}

// `total` in n parts as equal as can be: the first ones may be larger by one.
struct Split {
  Split(int total, int n) : n(n), small(total / n), larger(total % n) {}

  int largest() const { return small + (larger > 0); }
  int part(int i) const { return small + (i < larger); }

  template <class F>
  double sum(F&& cost) const {
    return (n - larger) * cost(small) + (larger > 0 ? larger * cost(small + 1) : 0);
  }

  int n, small, larger;
};

double block_cost(const DenseWeights& w, int stride, int lines) {
  const int loads = w.columns + (w.columns == 1 ? lines : (lines - 1) * stride + w.columns);
  return std::max(kProduct * w.columns * lines, kLoad * loads);
}

double tile_cost(const DenseWeights& w, const Window& k, int groups, int th, int tw) {
  const double lines_copied = kCopy * static_cast<double>(dense_tile(w, k, th, tw).lines()) + kStart;
  if (w.shared > 0) return gathered_cost(w, th * tw) + lines_copied;
  const Split row(tw, ceil_div(tw, kMatrixLines));
  const double blocks = row.sum([&](int lines) { return block_cost(w, k.sw, lines); });
  return blocks * th * w.outer * w.inner * groups + lines_copied;
}

std::vector<Tile> runs(int lines, int longest) {
  std::vector<Tile> tiles;
  for (int at = 0; at < lines; at += longest) tiles.push_back({0, at, 1, std::min(longest, lines - at)});
  return tiles;
}

}  // namespace

bool is_pointwise(const Window& k) { return k.kh * k.kw * k.sh * k.sw == 1 && k.pt + k.pl + k.pb + k.pr == 0; }

DenseTile dense_tile(const DenseWeights& w, const Window& k, int th, int tw) {
  DenseTile t;
  const bool gaps = k.kw < k.sw;
  t.columns = gaps ? tw * k.kw : (tw - 1) * k.sw + k.kw;
  t.x_columns = gaps ? k.kw : k.sw;
  if (w.form == DenseForm::kSharedColumns) {
    t.rows = (th - 1) * k.sh + k.kh;
    t.y_rows = k.sh;
    // Columns whose distance is a multiple of 1 kB would share few sets of the L1 cache.
    t.column_lines = static_cast<size_t>(w.cells) + (w.cells % kMatrixRows == 0);
  } else {
    t.rows = th;
    t.column_lines = static_cast<size_t>(k.kh) * w.cells;
  }
  t.row_lines = t.columns * t.column_lines;
  return t;
}

DenseWeights dense_weights(const std::vector<Entry>& entries, int out_channels, int cells, const Window& k,
                           const LeastShare& least) {
  if (k.dh != 1 || k.dw != 1) return {};
  DenseWeights w = best_shape(cells, k);
  const size_t groups = ceil_div(out_channels, kMatrixRows), rows = groups * w.group_rows();
  const double share = static_cast<double>(entries.size()) / (static_cast<double>(rows) * kMatrixRows);
  if (gather_places(w, entries, out_channels, k)) return w;
  const double of_l2 = static_cast<double>(rows) * sizeof(MatrixRow) / static_cast<double>(caches().l2);
  if (share < std::min(kSurelyDense, least.any + least.of_l2 * of_l2)) return {};
  w.rows.resize(rows);
  for (const Entry& e : entries) {
    const size_t place = place_of(w, e, k);
    w.rows[place / kMatrixRows].cell[place % kMatrixRows] = e.value[0];
  }
  return w;
}

std::vector<Tile> choose_dense_tiles(const PackedConv& conv, const PlaneShape& out, const Window& k, bool whole_rows) {
  const DenseWeights& w = conv.dense;
  const size_t budget = caches().l2 / 4 / sizeof(MatrixRow);
  if (is_pointwise(k)) {
    const int fits = static_cast<int>(std::min<size_t>(budget / w.cells, kRunLines));
    return runs(out.h * out.w, std::max(kMatrixLines, fits / kMatrixLines * kMatrixLines));
  }
  const int groups = ceil_div(conv.out_channels, kMatrixRows);
  Split best_h(out.h, out.h), best_w(out.w, 1);
  double least = -1;
  const int least_parts = ceil_div(out.w, kRunLines), most = whole_rows ? least_parts : ceil_div(out.w, kMatrixLines);
  for (int nx = least_parts; nx <= most; ++nx) {
    const Split widths(out.w, nx);
    for (int ny = 1; ny <= out.h; ++ny) {
      const Split heights(out.h, ny);
      const bool smallest = heights.largest() == 1 && nx == most;
      if (dense_tile(w, k, heights.largest(), widths.largest()).lines() > budget && !smallest) continue;
      const double cost = heights.sum([&](int h) {
        return widths.sum([&](int width) { return tile_cost(w, k, groups, h, width); });
      });
      if (least < 0 || cost < least) best_h = heights, best_w = widths, least = cost;
    }
  }
  std::vector<Tile> tiles;
  for (int i = 0, y = 0; i < best_h.n; y += best_h.part(i), ++i) {
    for (int j = 0, x = 0; j < best_w.n; x += best_w.part(j), ++j) {
      tiles.push_back({y, x, best_h.part(i), best_w.part(j)});
    }
  }
  return tiles;
}

}  // namespace lth
