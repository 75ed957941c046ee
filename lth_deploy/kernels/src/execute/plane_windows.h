// How operators go through a tensor when each plane of the result is made of the windows of one plane: tile by tile, with
// all lines that the windows read in a cache.
#pragma once

#include <algorithm>
#include <atomic>
#include <vector>

#include "execute/run_conv.h"
#include "execute/tasks.h"

namespace lth {

// Lines [first, end) of the output in one direction.
struct Range {
  int first = 0, end = 0;
  int size() const { return std::max(0, end - first); }
};

// Part `strip` of `strips` of so many rows.
inline Range strip_of(int rows, int strip, int strips) {
  return {static_cast<int>(int64_t{rows} * strip / strips), static_cast<int>(int64_t{rows} * (strip + 1) / strips)};
}

// What is read, and how large the result is.
struct PlaneWindows {
  const Isa* isa = nullptr;
  LineMap map;
  Window window;
  Planes source;
  const int32_t* channels = nullptr;  // 0, 1, ... for each plane of an image
  int planes = 0, n = 1;
  int out_h = 1, out_w = 1;
  uint32_t fill = 0;                  // the cell outside of the image
};

// A part of plane `plane` of the result. The window of its first line begins at `from`.
struct WindowTile {
  int image = 0, plane = 0;
  Range rows, columns;
  const uint32_t* from = nullptr;
  int pitch = 0;  // lines from one row of what the windows read to the next
};

class WindowTiles {
 public:
  explicit WindowTiles(const PlaneWindows& windows);

  int batches() const { return (windows_.planes + batch_ - 1) / batch_; }

  // f(tile, worker) for all planes of a batch, and the rows `rows` of the output.
  template <class F>
  void each(int image, int batch, Range rows, Worker& worker, const F& f) const {
    const Range planes{batch * batch_, std::min(windows_.planes, (batch + 1) * batch_)};
    const Range all{0, windows_.out_w};
    for (int y = rows.first; y < rows.end;) {
      const bool inside = y >= plain_rows_.first && y < plain_rows_.end;
      const int end = inside ? std::min(plain_rows_.end, y + inner_chunk_) : y + chunk_;
      Range chunk{y, std::min(rows.end, end)};
      if (inside) {
        packed(image, planes, chunk, {0, plain_columns_.first}, worker, f);
        in_place(image, planes, chunk, worker, f);
        packed(image, planes, chunk, {plain_columns_.end, all.end}, worker, f);
      } else {
        if (y < plain_rows_.first) chunk.end = std::min(chunk.end, plain_rows_.first);
        packed(image, planes, chunk, all, worker, f);
      }
      y = chunk.end;
    }
  }

 private:
  // Rows and columns that a window reaches over.
  int reach_y() const { return (windows_.window.kh - 1) * windows_.window.dh + 1; }
  int reach_x() const { return (windows_.window.kw - 1) * windows_.window.dw + 1; }
  int rows_read(int th) const { return (th - 1) * windows_.window.sh + reach_y(); }
  int columns_read(int tw) const { return (tw - 1) * windows_.window.sw + reach_x(); }

  // Lines from one row of a packed tile to the next: an even number would put rows into the same few sets of the cache.
  int pitch(int tw) const { return columns_read(tw) | 1; }

  size_t line_cells() const { return static_cast<size_t>(windows_.isa->lanes); }
  int cache_lines() const;
  int rows_that_fit(int tw) const;
  const uint32_t* source(int image) const;

  // Copies what the windows of some planes read; returns the tile of the first one.
  PackTile pack(int image, Range planes, Range rows, Range columns, Worker& worker) const;

  template <class F>
  void packed(int image, Range planes, Range rows, Range columns, Worker& worker, const F& f) const {
    if (rows.size() == 0 || columns.size() == 0) return;
    const PackTile p = pack(image, planes, rows, columns, worker);
    const size_t plane_cells = static_cast<size_t>(p.channel_lines) * line_cells();
    for (int k = 0; k < p.n_channels; ++k) {
      f(WindowTile{image, planes.first + k, rows, columns, p.tile + static_cast<size_t>(k) * plane_cells, p.pitch}, worker);
    }
  }

  template <class F>
  void in_place(int image, Range planes, Range rows, Worker& worker, const F& f) const {
    if (rows.size() == 0 || plain_columns_.size() == 0) return;
    const LineMap& map = windows_.map;
    const int row = map.rows[rows.first * windows_.window.sh].source;
    const int column = map.columns[plain_columns_.first * windows_.window.sw].source;
    const uint32_t* const from = source(image) + (static_cast<size_t>(row) * map.source_w + column) * line_cells();
    for (int c = planes.first; c < planes.end; ++c) {
      f(WindowTile{image, c, rows, plain_columns_, from + static_cast<size_t>(c) * windows_.source.channel, map.source_w}, worker);
    }
  }

  const PlaneWindows& windows_;
  Range plain_rows_, plain_columns_;
  int batch_ = 1;  // planes of a task
  int chunk_ = 1, inner_chunk_ = 1;  // rows of the output that are computed of all planes of a task before the next ones
};

// f(tile, worker) for the whole result.
template <class F>
void each_window_tile(const PlaneWindows& windows, Parallel& parallel, Workspace& workspace, std::atomic<int>& threads,
                      const F& f) {
  const WindowTiles tiles(windows);
  const int batches = tiles.batches();
  const int strips = std::min(windows.out_h, parts_of_task(static_cast<int64_t>(batches) * windows.n, threads));
  const int seen = for_each_task(parallel, static_cast<int64_t>(windows.n) * batches * strips, [&](int worker, int64_t task) {
    const int strip = static_cast<int>(task % strips), batch = static_cast<int>(task / strips % batches);
    const int image = static_cast<int>(task / strips / batches);
    tiles.each(image, batch, strip_of(windows.out_h, strip, strips), workspace.workers[worker], f);
  });
  note_threads(threads, seen);
}

}  // namespace lth
