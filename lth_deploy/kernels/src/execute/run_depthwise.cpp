#include "execute/run_depthwise.h"

#include <algorithm>

#include "execute/tasks.h"
#include "plan/caches.h"

namespace lth {
namespace {

// Planes of a task: where the lines at a rim come from is worked out once for all of them.
constexpr int kLeastBatch = 4, kLargestBatch = 16;
constexpr double kInPlace = 0.8;  // share of the lines from which on they are read in place: narrow rims cost more to copy
constexpr int kRowsAReach = 4;  // a tile has this many times as many rows as are copied again for the tile below it

// Lines [first, end) of the output in one direction.
struct Range {
  int first = 0, end = 0;
  int size() const { return std::max(0, end - first); }
};

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

// What all tasks of a call share.
class Layer {
 public:
  explicit Layer(const ConvCall& call)
      : call_(call), window_(call.window), planes_(static_cast<int>(call.conv->depthwise.channels.size())),
        line_cells_(static_cast<size_t>(call.isa->lanes)) {
    if (call.map.aligned) {
      plain_rows_ = plain_range(call.map.rows, call.out_h, window_.kh, window_.sh, window_.dh);
      plain_columns_ = plain_range(call.map.columns, call.out_w, window_.kw, window_.sw, window_.dw);
    }
    const double inside = static_cast<double>(plain_rows_.size()) * plain_columns_.size();
    if (inside < kInPlace * call.out_h * call.out_w) plain_rows_ = {0, 0};
    batch_ = std::clamp(cache_lines() / (pitch(call.out_w) * rows_read(call.out_h)), kLeastBatch, kLargestBatch);
    chunk_ = rows_that_fit(call.out_w);
    inner_chunk_ = rows_that_fit(std::max(plain_columns_.first, call.out_w - plain_columns_.end));
  }

  int planes() const { return planes_; }
  int batch() const { return batch_; }

  // Planes [first, end) of an image, the rows `rows` of the output.
  void run(int image, Range planes, Range rows, Worker& worker) const {
    for (int y = rows.first; y < rows.end;) {
      const bool inside = y >= plain_rows_.first && y < plain_rows_.end;
      const int end = inside ? std::min(plain_rows_.end, y + inner_chunk_) : y + chunk_;
      Range chunk{y, std::min(rows.end, end)};
      if (inside) {
        packed(image, planes, chunk, {0, plain_columns_.first}, worker);
        in_place(image, planes, chunk, plain_columns_, worker);
        packed(image, planes, chunk, {plain_columns_.end, call_.out_w}, worker);
      } else {
        if (y < plain_rows_.first) chunk.end = std::min(chunk.end, plain_rows_.first);
        packed(image, planes, chunk, {0, call_.out_w}, worker);
      }
      if (needs_second_pass(call_.finish.epilogue)) finish(image, planes, chunk);
      y = chunk.end;
    }
  }

 private:
  // Rows and columns beyond one of a window.
  int reach_y() const { return (window_.kh - 1) * window_.dh + 1; }
  int reach_x() const { return (window_.kw - 1) * window_.dw + 1; }

  int columns(int tw) const { return (tw - 1) * window_.sw + reach_x(); }

  // Lines from one row of a packed tile to the next: an even number would put rows into the same few sets of the cache.
  int pitch(int tw) const { return columns(tw) | 1; }

  int rows_read(int th) const { return (th - 1) * window_.sh + reach_y(); }

  int cache_lines() const { return static_cast<int>(caches().l1 * 3 / 4 / (line_cells_ * 4)); }

  // Rows of the output, of so many columns, of which the packed tiles of a batch fit the L1 cache, or nearly.
  int rows_that_fit(int tw) const {
    const int fit = (cache_lines() / (batch_ * pitch(std::max(tw, 1))) - reach_y()) / window_.sh + 1;
    return std::max({1, fit, kRowsAReach * (reach_y() - 1) / window_.sh});
  }

  const uint32_t* source(int image) const {
    return reinterpret_cast<const uint32_t*>(call_.source.first + static_cast<size_t>(image) * call_.source.image);
  }

  void packed(int image, Range planes, Range rows, Range columns_out, Worker& worker) const {
    if (rows.size() == 0 || columns_out.size() == 0) return;
    PackTile p;
    p.source = source(image);
    p.channel_cells = call_.source.channel;
    p.channels = call_.conv->depthwise.channels.data() + planes.first;
    p.n_channels = planes.size();
    p.map = call_.map;
    p.row0 = rows.first * window_.sh;
    p.n_rows = rows_read(rows.size());
    p.col0 = columns_out.first * window_.sw;
    p.n_cols = columns(columns_out.size());
    p.pitch = pitch(columns_out.size());
    p.channel_lines = p.n_rows * p.pitch;
    p.fill = call_.fill;
    const size_t plane_cells = static_cast<size_t>(p.channel_lines) * line_cells_;
    const size_t row_cells = call_.map.aligned ? 0 : static_cast<size_t>(call_.map.source_w) * line_cells_;
    p.tile = static_cast<uint32_t*>(worker.tile.at_least((plane_cells + row_cells) * 4 * static_cast<size_t>(p.n_channels)));
    if (row_cells > 0) p.rows = p.tile + plane_cells * static_cast<size_t>(p.n_channels);
    call_.isa->pack_tile(p);
    for (int k = 0; k < p.n_channels; ++k) {
      multiply(image, planes.first + k, rows, columns_out, p.tile + static_cast<size_t>(k) * plane_cells, p.pitch, worker);
    }
  }

  void in_place(int image, Range planes, Range rows, Range columns_out, Worker& worker) const {
    if (rows.size() == 0 || columns_out.size() == 0) return;
    const size_t line = static_cast<size_t>(call_.map.rows[rows.first * window_.sh].source) * call_.map.source_w +
                        call_.map.columns[columns_out.first * window_.sw].source;
    for (int c = planes.first; c < planes.end; ++c) {
      multiply(image, c, rows, columns_out, source(image) + static_cast<size_t>(c) * call_.source.channel + line * line_cells_,
               call_.map.source_w, worker);
    }
  }

  void multiply(int image, int plane, Range rows, Range columns_out, const uint32_t* from, int pitch, Worker& worker) const {
    const DepthwiseWeights& weights = call_.conv->depthwise;
    DepthwisePlane a;
    a.source = from;
    a.pitch = pitch;
    a.kh = window_.kh, a.kw = window_.kw;
    a.sh = window_.sh, a.sw = window_.sw;
    a.dh = window_.dh, a.dw = window_.dw;
    a.th = rows.size(), a.tw = columns_out.size();
    a.out_pitch = call_.out_w;
    a.finish = call_.finish;
    const size_t line = (static_cast<size_t>(rows.first) * call_.out_w + columns_out.first) * line_cells_;
    if (call_.requantize != nullptr) return multiply_cells(image, plane, line, a, worker);
    for (int k = 0; k < weights.multiplier; ++k) {
      const size_t made = static_cast<size_t>(plane) * weights.multiplier + k;
      a.weight = weights.value.data() + made * weights.plane_values;
      a.bias = call_.bias + made;
      place(image, made, line, a);
      call_.isa->depthwise(a);
    }
  }

  // Plane `made` of the output and of the residual, from line `line` on.
  void place(int image, size_t made, size_t line, DepthwisePlane& a) const {
    a.out = call_.out.first + static_cast<size_t>(image) * call_.out.image + made * call_.out.channel + line;
    if (call_.add.first != nullptr) {
      a.add = call_.add.first + static_cast<size_t>(image) * call_.add.image + made * call_.add.channel + line;
    }
  }

  void multiply_cells(int image, int cell, size_t line, DepthwisePlane& a, Worker& worker) const {
    const DepthwiseWeights& weights = call_.conv->depthwise;
    Requantize requantize = *call_.requantize;
    requantize.multiplier += 4 * cell;
    a.requantize = &requantize;
    a.weight = weights.value.data() + static_cast<size_t>(cell) * weights.plane_values;
    a.bias = call_.bias + 4 * cell;
    a.channels = std::min(4, call_.conv->out_channels - 4 * cell);
    a.out_channel = call_.out.channel;
    place(image, static_cast<size_t>(requantize.to_floats ? 4 * cell : cell), line, a);
    a.rows_together = weights.rows_together;
    const size_t lines = 4 * static_cast<size_t>(depthwise_groups(weights, window_)) * columns(a.tw);
    a.columns = static_cast<uint32_t*>(worker.accumulators.at_least(lines * line_cells_ * 4));
    call_.isa->int8->depthwise(a);
  }

  // Activations that take more registers than the accumulators leave free.
  void finish(int image, Range planes, Range rows) const {
    const int multiplier = call_.conv->depthwise.multiplier;
    const size_t cells = static_cast<size_t>(rows.size()) * call_.out_w * line_cells_;
    for (int c = planes.first * multiplier; c < planes.end * multiplier; ++c) {
      float* const out = call_.out.first + static_cast<size_t>(image) * call_.out.image + static_cast<size_t>(c) * call_.out.channel +
                         static_cast<size_t>(rows.first) * call_.out_w * line_cells_;
      call_.isa->add(out, nullptr, cells, call_.finish, out);
    }
  }

  const ConvCall& call_;
  const Window& window_;
  int planes_;
  size_t line_cells_;
  Range plain_rows_, plain_columns_;
  int batch_ = 1;
  int chunk_ = 1, inner_chunk_ = 1;  // rows of the output that are computed of all planes of a task before the next ones
};

}  // namespace

void run_depthwise(const ConvCall& call, Parallel& parallel, Workspace& workspace, std::atomic<int>& threads) {
  const Layer layer(call);
  const int batches = (layer.planes() + layer.batch() - 1) / layer.batch();
  const int strips = std::min(call.out_h, parts_of_task(static_cast<int64_t>(batches) * call.n, threads));
  const int seen = for_each_task(parallel, static_cast<int64_t>(call.n) * batches * strips, [&](int worker, int64_t task) {
    const int strip = static_cast<int>(task % strips), batch = static_cast<int>(task / strips % batches);
    const int image = static_cast<int>(task / strips / batches);
    const Range planes{batch * layer.batch(), std::min(layer.planes(), (batch + 1) * layer.batch())};
    const Range rows{static_cast<int>(int64_t{call.out_h} * strip / strips), static_cast<int>(int64_t{call.out_h} * (strip + 1) / strips)};
    layer.run(image, planes, rows, workspace.workers[worker]);
  });
  note_threads(threads, seen);
}

}  // namespace lth
