#include "plan/pack_gathered.h"

#include "plan/entries.h"

namespace lth {
namespace {

// Products of matrix tiles, as a share of those of the dense form, up to which gathering is faster: it copies 16 lines for each
// tile of lines, and half as many where 32 rows share them. Of a prototype, see docs/kernel_experiments.md.
constexpr double kMostAlone = .35, kMostShared = .5;

// Share of the multiplied cells that have any weight, from which on this is faster than the kernels that skip zeros: a tile of 256
// cells costs what these need for about 50.
constexpr double kLeastFilled = .25;

// How much larger the union of the places of 32 rows may be than those of 16.
constexpr double kMostUnion = 1.1;

// Cycles of a product, and of copying a line that is in the L1 or L2 cache, half of which hides behind products.
constexpr double kProduct = 16, kCopy = 2;

size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

// The places of each unit of rows in the order of their lines in a packed tile: taps first.
class Places {
 public:
  Places(const std::vector<Entry>& entries, int out_channels, int cells, const Window& k, int unit_rows)
      : cells_(cells), k_(k), unit_rows_(unit_rows), all_(static_cast<size_t>(k.kh) * k.kw * cells) {
    units_ = ceil_div(static_cast<size_t>(out_channels), static_cast<size_t>(unit_rows));
    rank_.assign(units_ * all_, 0);
    for (const Entry& e : entries) rank_[at(e)] = 1;
    first_tile_.push_back(0);
    for (size_t unit = 0; unit < units_; ++unit) {
      size_t found = 0;
      for (size_t place = 0; place < all_; ++place) found += rank_[unit * all_ + place];
      first_tile_.push_back(first_tile_.back() + static_cast<int32_t>(ceil_div(found, kMatrixRows)));
    }
  }

  const std::vector<int32_t>& first_tile() const { return first_tile_; }
  size_t tiles() const { return static_cast<size_t>(first_tile_.back()); }

  // Places, and ranks instead of marks. What fills up a tile is the first line, with weights of zero.
  std::vector<ChannelTap> number() {
    std::vector<ChannelTap> places(tiles() * kMatrixRows);
    for (size_t unit = 0; unit < units_; ++unit) {
      auto next = static_cast<size_t>(first_tile_[unit]) * kMatrixRows;
      for (size_t place = 0; place < all_; ++place) {
        uint32_t& rank = rank_[unit * all_ + place];
        if (rank == 0) continue;
        const auto tap = static_cast<int>(place / cells_);
        places[next] = {static_cast<int32_t>(place % cells_), static_cast<int16_t>(tap / k_.kw), static_cast<int16_t>(tap % k_.kw)};
        rank = static_cast<uint32_t>(next++);
      }
    }
    return places;
  }

  size_t rank(const Entry& e) const { return rank_[at(e)]; }

 private:
  size_t at(const Entry& e) const {
    const size_t tap = static_cast<size_t>(e.ky) * k_.kw + e.kx;
    return static_cast<size_t>(e.row / unit_rows_) * all_ + tap * cells_ + e.channel;
  }

  size_t cells_;
  Window k_;
  int unit_rows_;
  size_t all_, units_;
  std::vector<uint32_t> rank_;
  std::vector<int32_t> first_tile_;
};

}  // namespace

bool gather_places(DenseWeights& w, const std::vector<Entry>& entries, int out_channels, const Window& k) {
  Places places(entries, out_channels, w.cells, k, kMatrixRows);
  int shared = 1;
  if (ceil_div(static_cast<size_t>(out_channels), kMatrixRows) % 2 == 0) {
    Places together(entries, out_channels, w.cells, k, 2 * kMatrixRows);
    if (2.0 * static_cast<double>(together.tiles()) <= kMostUnion * static_cast<double>(places.tiles())) {
      shared = 2;
      places = std::move(together);
    }
  }
  const double products = static_cast<double>(places.tiles()) * shared, groups = static_cast<double>(ceil_div(static_cast<size_t>(out_channels), kMatrixRows));
  const double dense = groups * static_cast<double>(w.group_rows()) / kMatrixRows;
  const double filled = static_cast<double>(entries.size()) / (products * kMatrixRows * kMatrixRows);
  if (products > dense * (shared > 1 ? kMostShared : kMostAlone) || !(filled >= kLeastFilled)) return false;
  w.shared = shared;
  w.places = places.number();
  w.first_tile = places.first_tile();
  w.rows.resize(places.tiles() * shared * kMatrixRows);
  for (const Entry& e : entries) {
    const size_t rank = places.rank(e), tile = rank / kMatrixRows * shared + e.row / kMatrixRows % shared;
    w.rows[tile * kMatrixRows + e.row % kMatrixRows].cell[rank % kMatrixRows] = e.value[0];
  }
  return true;
}

double gathered_cost(const DenseWeights& w, int lines) {
  return static_cast<double>(w.first_tile.back()) * lines * (kProduct * w.shared + kMatrixRows * kCopy / 2);
}

}  // namespace lth
