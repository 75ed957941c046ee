#include "execute/plane_windows.h"

#include "plan/caches.h"

namespace lth {
namespace {

// Planes of a task: where the lines at a rim come from is worked out once for all of them.
constexpr int kLeastBatch = 4, kLargestBatch = 16;
constexpr double kInPlace = 0.8;  // share of the lines from which on they are read in place: narrow rims cost more to copy
constexpr int kRowsAReach = 4;  // a tile has this many times as many rows as are copied again for the tile below it

// Output lines of which all taps read whole lines of their own lanes, in one direction.
Range plain_range(const Axis* axis, int count, int taps, int stride, int dilation) {
  const auto plain = [&](int i) {
    for (int tap = 0; tap < taps; ++tap) {
      if (!axis[i * stride + tap * dilation].plain) return false;
    }
    return true;
  };
  Range range;
  while (range.first < count && !plain(range.first)) ++range.first;
  range.end = range.first;
  while (range.end < count && plain(range.end)) ++range.end;
  return range;
}

}  // namespace

WindowTiles::WindowTiles(const PlaneWindows& windows) : windows_(windows) {
  const Window& k = windows.window;
  if (windows.map.aligned) {
    plain_rows_ = plain_range(windows.map.rows, windows.out_h, k.kh, k.sh, k.dh);
    plain_columns_ = plain_range(windows.map.columns, windows.out_w, k.kw, k.sw, k.dw);
  }
  const double inside = static_cast<double>(plain_rows_.size()) * plain_columns_.size();
  if (inside < kInPlace * windows.out_h * windows.out_w) plain_rows_ = {0, 0};
  batch_ = std::clamp(cache_lines() / (pitch(windows.out_w) * rows_read(windows.out_h)), kLeastBatch, kLargestBatch);
  chunk_ = rows_that_fit(windows.out_w);
  inner_chunk_ = rows_that_fit(std::max(plain_columns_.first, windows.out_w - plain_columns_.end));
}

int WindowTiles::cache_lines() const { return static_cast<int>(caches().l1 * 3 / 4 / (line_cells() * 4)); }

// Rows of the output, of so many columns, of which the packed tiles of a batch fit the L1 cache, or nearly.
int WindowTiles::rows_that_fit(int tw) const {
  const int fit = (cache_lines() / (batch_ * pitch(std::max(tw, 1))) - reach_y()) / windows_.window.sh + 1;
  return std::max({1, fit, kRowsAReach * (reach_y() - 1) / windows_.window.sh});
}

const uint32_t* WindowTiles::source(int image) const {
  return reinterpret_cast<const uint32_t*>(windows_.source.first + static_cast<size_t>(image) * windows_.source.image);
}

PackTile WindowTiles::pack(int image, Range planes, Range rows, Range columns, Worker& worker) const {
  PackTile p;
  p.source = source(image);
  p.channel_cells = windows_.source.channel;
  p.channels = windows_.channels + planes.first;
  p.n_channels = planes.size();
  p.map = windows_.map;
  p.row0 = rows.first * windows_.window.sh;
  p.n_rows = rows_read(rows.size());
  p.col0 = columns.first * windows_.window.sw;
  p.n_cols = columns_read(columns.size());
  p.pitch = pitch(columns.size());
  p.channel_lines = p.n_rows * p.pitch;
  p.fill = windows_.fill;
  const size_t plane_cells = static_cast<size_t>(p.channel_lines) * line_cells();
  const size_t row_cells = p.map.aligned ? 0 : static_cast<size_t>(p.map.source_w) * line_cells();
  p.tile = static_cast<uint32_t*>(worker.tile.at_least((plane_cells + row_cells) * 4 * static_cast<size_t>(p.n_channels)));
  if (row_cells > 0) p.rows = p.tile + plane_cells * static_cast<size_t>(p.n_channels);
  windows_.isa->pack_tile(p);
  return p;
}

}  // namespace lth
