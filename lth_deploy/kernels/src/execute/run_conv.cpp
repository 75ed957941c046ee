#include "execute/run_conv.h"

#include <algorithm>

#include "execute/run_dense.h"
#include "execute/run_depthwise.h"
#include "execute/tasks.h"
#include "plan/caches.h"

namespace lth {
namespace {

// Memory of one task's accumulators: blocks load and store them, beside weights and inputs that stream through the L2 cache.
size_t accumulator_bytes() { return std::min(caches().l2 * 5 / 8, size_t{640} << 10); }

// Output rows (or pairs) [begin, end) of one group over one tile of one image.
struct Part {
  int begin, end;
};

int rows_a_part(const ConvCall& call, int lines, int64_t tasks, int threads) {
  const PackedConv& conv = *call.conv;
  const size_t row_bytes = static_cast<size_t>(lines) * call.isa->lanes * 4 * (conv.pairs ? 2 : 1);
  const int group_rows = std::max(1, conv.rows() / conv.groups);
  int rows = std::max<int>(kStartEvery, static_cast<int>(accumulator_bytes() / row_bytes));
  const int parts = parts_of_task(tasks, threads);
  if (parts > 1) rows = std::min(rows, (group_rows + parts - 1) / parts);
  return std::max(kStartEvery, rows / kStartEvery * kStartEvery);
}

// Parts never cross a group, and begin where blocks note their records.
std::vector<Part> split_rows(const PackedConv& conv, int rows) {
  std::vector<Part> parts;
  const int group_rows = conv.rows() / conv.groups;
  for (int g = 0; g < conv.groups; ++g) {
    const int end = g + 1 == conv.groups ? conv.rows() : (g + 1) * group_rows;
    for (int r = g * group_rows; r < end; r += rows) parts.push_back({r, std::min(end, r + rows)});
  }
  return parts;
}

// Neighboring rows or columns of the source.
struct Span {
  int first = 0, n = 0;
};

// The first ones that the lanes read of their own, of `count` that a tile reads.
Span plain_span(const Axis* axis, int count) {
  const Axis* const end = axis + count;
  while (axis != end && !axis->plain) ++axis;
  Span span;
  if (axis != end) span.first = axis->source;
  for (; axis != end && axis->plain; ++axis) ++span.n;
  return span;
}

class ConvTask {
 public:
  // next: the tile that this worker is likely to be given afterwards, for all rows; may be null.
  ConvTask(const ConvCall& call, const Tile& tile, const Tile* next, int image, const Part& part, Worker& worker)
      : call_(call), conv_(*call.conv), tile_(tile), next_(next), image_(image), part_(part),
        packed_(static_cast<uint32_t*>(worker.tile.at_least((static_cast<size_t>(conv_.tile_lines) + 1) * line_bytes()))),
        accumulators_(static_cast<float*>(worker.accumulators.at_least(static_cast<size_t>(part.end - part.begin) * tile.th * tile.tw *
                                                       line_bytes() * (conv_.pairs ? 2 : 1) + four_rows_bytes()))) {}

  void run() {
    for (size_t b = 0; b < conv_.blocks.size(); ++b) {
      const Block& block = conv_.blocks[b];
      if (block.row_end <= part_.begin || block.row_begin >= part_.end) continue;
      if (call_.matrix.rows != nullptr) {
        pack_rows(block);
      } else if (conv_.family == kRun) {
        pack_run(block);
      } else {
        pack_tile(block, block.last ? PrefetchRange() : next_range(b));
      }
      multiply(block, next_range(b));
    }
  }

 private:
  size_t line_bytes() const { return static_cast<size_t>(call_.isa->lanes) * 4; }

  // Accumulators of four rows, before they become uint8.
  size_t four_rows_bytes() const {
    return call_.requantize == nullptr ? 0 : 4 * static_cast<size_t>(tile_.th) * tile_.tw * line_bytes();
  }

  const uint32_t* source() const {
    return reinterpret_cast<const uint32_t*>(call_.source.first + image_ * call_.source.image);
  }

  // Cells from the start of a channel to the tile's first line.
  size_t tile_start() const { return (static_cast<size_t>(tile_.y) * call_.out_w + tile_.x) * call_.isa->lanes; }

  // What is copied after block b: the next block of this tile, or the first one of the next tile.
  PrefetchRange next_range(size_t b) const {
    if (call_.matrix.rows != nullptr) return {};
    if (!conv_.blocks[b].last) return range_of(tile_, conv_.blocks[b + 1]);
    return next_ == nullptr ? PrefetchRange() : range_of(*next_, conv_.blocks.front());
  }

  // What a tile reads of each channel of a block, but for the lines that are put together from those of other lanes.
  PrefetchRange range_of(const Tile& tile, const Block& block) const {
    PrefetchRange a;
    a.source = source();
    a.channel_cells = call_.source.channel;
    a.channels = block.channels.data();
    a.n_channels = static_cast<int>(block.channels.size());
    a.pitch = call_.map.source_w;
    if (call_.contiguous) {
      a.first = tile.x;
      a.n_rows = 1;
      a.length = tile.tw;
    } else if (conv_.family != kRun && call_.map.aligned) {
      const Window& k = call_.window;
      const Span rows = plain_span(call_.map.rows + tile.y * k.sh, (tile.th - 1) * k.sh + k.kh);
      const Span columns = plain_span(call_.map.columns + tile.x * k.sw, (tile.tw - 1) * k.sw + k.kw);
      a.first = rows.first * a.pitch + columns.first;
      a.n_rows = rows.n;
      a.length = columns.n;
    }
    return a;
  }

  void pack_tile(const Block& block, const PrefetchRange& next) const {
    PackTile p;
    p.source = source();
    p.channel_cells = call_.source.channel;
    p.channels = block.channels.data();
    p.n_channels = static_cast<int>(block.channels.size());
    p.next = next;
    p.map = call_.map;
    p.row0 = tile_.y * call_.window.sh;
    p.n_rows = (tile_.th - 1) * call_.window.sh + call_.window.kh;
    p.col0 = tile_.x * call_.window.sw;
    p.n_cols = (tile_.tw - 1) * call_.window.sw + call_.window.kw;
    p.pitch = conv_.pitch;
    p.channel_lines = conv_.channel_lines;
    p.fill = call_.fill;
    p.tile = packed_;
    call_.isa->pack_tile(p);
  }

  void pack_run(const Block& block) const {
    PackRun p;
    p.source = source();
    p.channel_cells = call_.source.channel;
    p.taps = block.taps.data();
    p.n_taps = static_cast<int>(block.taps.size());
    p.map = call_.map;
    p.contiguous = call_.contiguous;
    p.first = tile_.x;
    p.count = tile_.tw;
    p.out_w = call_.out_w;
    p.sh = call_.window.sh;
    p.sw = call_.window.sw;
    p.run_lines = conv_.channel_lines;
    p.fill = call_.fill;
    p.tile = packed_;
    call_.isa->pack_run(p);
  }

  // Taps of neighboring channels together.
  void pack_rows(const Block& block) const {
    const Matrix& m = call_.matrix;
    const size_t cells = static_cast<size_t>(conv_.channel_lines) * call_.isa->lanes;
    const size_t taps = block.taps.size();
    for (size_t t = 0; t < taps;) {
      const size_t from = t;
      while (++t < taps && block.taps[t].channel == block.taps[t - 1].channel + 1) {
      }
      call_.isa->load_rows(m.rows, m.n, m.channels, block.taps[from].channel, static_cast<int>(t - from), m.plane,
                           tile_.x, tile_.tw, cells, reinterpret_cast<float*>(packed_) + from * cells);
    }
  }

  void multiply(const Block& block, const PrefetchRange& next) const {
    const int skipped = part_.begin - block.row_begin, rows_a_record = conv_.pairs ? 2 : 1;
    const int channel = part_.begin * rows_a_record;
    const size_t record = block.start[skipped / kStartEvery];
    Rows r;
    r.tile = packed_;
    r.offset = conv_.offset.data() + record;
    r.value = conv_.value.data() + record * rows_a_record;
    r.count = conv_.count.data() + block.first_count + skipped;
    r.rows = part_.end - part_.begin;
    r.th = tile_.th;
    r.tw = tile_.tw;
    r.scratch = accumulators_ + four_rows_bytes() / 4;
    r.bias = call_.bias + channel;
    const bool to_uint8 = call_.requantize != nullptr && !call_.requantize->to_floats;
    const size_t plane = to_uint8 ? channel / 4 : channel;  // parts begin with whole cells
    r.out = call_.out.first + image_ * call_.out.image + plane * call_.out.channel + tile_start();
    r.out_channel = call_.out.channel;
    r.out_pitch = call_.out_w;
    if (call_.add.first != nullptr) {
      r.add = call_.add.first + image_ * call_.add.image + plane * call_.add.channel + tile_start();
      r.add_channel = call_.add.channel;
    }
    r.odd = conv_.pairs && conv_.out_channels % 2 == 1 && part_.end == conv_.rows();
    r.prefetch = next;
    r.finish = call_.finish;
    r.first = block.first;
    r.last = block.last;
    if (call_.requantize != nullptr) {
      Requantize q = *call_.requantize;
      q.multiplier += channel;
      r.requantize = &q;
      r.four_rows = accumulators_;
      r.channels = std::min(r.rows * rows_a_record, conv_.out_channels - channel);
      kernel(call_.isa->int8->single, call_.isa->int8->pair)(r);
    } else if (conv_.is_bf16) {
      kernel(call_.isa->bf16->single, call_.isa->bf16->pair)(r);
    } else {
      kernel(call_.isa->single, call_.isa->pair)(r);
    }
  }

  RowsFn kernel(RowsFn (*single)(int, int, int), RowsFn (*pair)(int, int)) const {
    return conv_.pairs ? pair(conv_.family, tile_.tw) : single(conv_.family, tile_.th, tile_.tw);
  }

  const ConvCall& call_;
  const PackedConv& conv_;
  const Tile& tile_;
  const Tile* next_;
  size_t image_;
  Part part_;
  uint32_t* packed_;
  float* accumulators_;
};

}  // namespace

void run_conv(const ConvCall& call, Parallel& parallel, Workspace& workspace, std::atomic<int>& threads) {
  if (call.conv->depthwise.used()) return run_depthwise(call, parallel, workspace, threads);
  if (call.conv->dense.form != DenseForm::kNone) return run_dense(call, parallel, workspace, threads);
  int lines = 1;
  for (const Tile& t : *call.tiles) lines = std::max(lines, t.th * t.tw);
  const int64_t tiles = static_cast<int64_t>(call.tiles->size()) * call.n;
  const std::vector<Part> parts = split_rows(*call.conv, rows_a_part(call, lines, tiles * call.conv->groups, threads));
  const int64_t tasks = tiles * static_cast<int64_t>(parts.size());
  const int seen = for_each_task(parallel, tasks, [&](int worker, int64_t task) {
    const int64_t at = task / static_cast<int64_t>(parts.size());
    const size_t tile = at % static_cast<int64_t>(call.tiles->size()), next = tile + threads;
    const int image = static_cast<int>(at / static_cast<int64_t>(call.tiles->size()));
    const Tile* const expected = parts.size() == 1 && next < call.tiles->size() ? &(*call.tiles)[next] : nullptr;
    const Part& part = parts[task % static_cast<int64_t>(parts.size())];
    ConvTask(call, (*call.tiles)[tile], expected, image, part, workspace.workers[worker]).run();
  });
  note_threads(threads, seen);
}

}  // namespace lth
