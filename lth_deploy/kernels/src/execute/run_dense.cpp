#include "execute/run_dense.h"

#include <algorithm>

#include "execute/tasks.h"
#include "plan/caches.h"

namespace lth {
namespace {

// Groups of 16 output rows [begin, end) over one tile of one image.
struct Part {
  int begin, end;
};

class DenseTask {
 public:
  DenseTask(const ConvCall& call, const Tile& tile, int image, const Part& part, Worker& worker)
      : call_(call), weights_(call.conv->dense), tile_(tile), image_(image), part_(part), worker_(worker),
        packing_(dense_tile(weights_, call.window, tile.th, tile.tw)) {}

  void run() {
    DenseRows d;
    if (call_.contiguous && (weights_.cells % kMatrixRows == 0 || weights_.shared > 0)) {
      read_in_place(d);
    } else {
      read_packed(d);
    }
    d.groups = part_.end - part_.begin;
    Requantize requantize = call_.requantize != nullptr ? *call_.requantize : Requantize();
    describe_rows(d.rows, requantize);
    if (weights_.shared > 0) {
      run_gathered(d);
    } else {
      run_whole(d);
    }
  }

 private:
  bool bf16() const { return call_.conv->is_bf16; }
  const DenseKernels& kernels() const { return bf16() ? *call_.isa->dense_bf16 : *call_.isa->dense; }

  void run_whole(DenseRows& d) {
    d.outer = weights_.outer;
    d.inner = weights_.inner;
    d.columns = weights_.columns;
    d.stride = call_.window.sw;
    d.group_rows = weights_.group_rows();
    d.weights = weights_.rows.data() + part_.begin * d.group_rows;
    d.lines_first = call_.pixels == nullptr && lines_stay(d);
    const size_t rows = (static_cast<size_t>(d.groups) + kMatrixLines) * kMatrixRows;
    d.scratch = scratch(rows + finished_rows(d));
    d.finished = d.scratch + rows;
    kernels().rows(d);
  }

  // Behind the scratch memory that the kernel needs are the offsets of the part's places.
  void run_gathered(DenseRows& d) {
    d.shared = weights_.shared;
    d.first_tile = weights_.first_tile.data() + part_.begin / d.shared;
    const size_t first = *d.first_tile, tiles = d.first_tile[d.groups / d.shared] - first;
    d.weights = weights_.rows.data() + first * d.shared * kMatrixRows;
    const size_t rows = (static_cast<size_t>(d.groups) + 3 * kMatrixLines) * kMatrixRows, places = tiles * kMatrixRows;
    const size_t finished = finished_rows(d);
    d.scratch = scratch(rows + finished + (places * sizeof(size_t) + sizeof(MatrixRow) - 1) / sizeof(MatrixRow));
    d.finished = d.scratch + rows;
    size_t* const offset = reinterpret_cast<size_t*>(d.finished + finished);
    const ChannelTap* const place = weights_.places.data() + first * kMatrixRows;
    const size_t a_row = weights_.form == DenseForm::kSharedColumns ? d.outer_step : weights_.cells * sizeof(MatrixRow);
    for (size_t i = 0; i < places; ++i) {
      offset[i] = place[i].ky * a_row + place[i].kx * packing_.column_lines * sizeof(MatrixRow) + place[i].channel * d.cell;
    }
    d.offset = offset;
    kernels().gathered_rows(d);
  }

  // Lines that wait to become pixels.
  size_t finished_rows(const DenseRows& d) const {
    return call_.pixels == nullptr ? 0 : static_cast<size_t>(d.shared) * kMatrixRows * tile_.tw;
  }

  MatrixRow* scratch(size_t rows) const {
    return static_cast<MatrixRow*>(worker_.accumulators.at_least(rows * sizeof(MatrixRow)));
  }

  const uint32_t* source() const {
    return reinterpret_cast<const uint32_t*>(call_.source.first + image_ * call_.source.image);
  }

  // Whether the L1 cache holds what a block of lines reads, while weights stream past it; else it holds those of a group.
  bool lines_stay(const DenseRows& d) const {
    const size_t columns = d.columns == 1 ? kMatrixLines : (kMatrixLines - 1) * d.stride + d.columns;
    return columns * d.outer * d.inner * kMatrixRows * sizeof(MatrixRow) <= caches().l1 * 4 / 5;
  }

  void read_in_place(DenseRows& d) const {
    d.source = source() + static_cast<size_t>(tile_.x) * kMatrixRows;
    d.x = d.column = sizeof(MatrixRow);
    d.cell = call_.source.channel * sizeof(uint32_t);
    d.inner_step = d.cell * kMatrixRows;
  }

  void read_packed(DenseRows& d) const {
    const bool shared = weights_.form == DenseForm::kSharedColumns;
    PackDense p;
    p.source = source();
    p.channel_cells = call_.source.channel;
    p.n_cells = weights_.cells;
    p.map = call_.map;
    p.contiguous = call_.contiguous;
    p.first = tile_.x;
    p.row0 = tile_.y * call_.window.sh;
    p.row_step = shared ? 1 : call_.window.sh;
    p.n_y = packing_.rows;
    p.n_ky = shared ? 1 : call_.window.kh;
    p.col0 = tile_.x * call_.window.sw;
    p.columns = packing_.columns;
    p.kw = call_.window.kw;
    p.sw = call_.window.sw;
    p.row_lines = packing_.row_lines;
    p.column_lines = packing_.column_lines;
    p.fill = call_.fill;
    // The last step over the cells may read a tile beyond them, where weights are zeros: whatever bytes lie there count
    // nothing, but zero times what is no number would.
    const size_t lines = packing_.lines() + kMatrixRows;
    p.tile = static_cast<uint32_t*>(worker_.tile.at_least(lines * sizeof(MatrixRow)));
    if (bf16()) std::fill_n(p.tile + packing_.lines() * kMatrixRows, kMatrixRows * kMatrixRows, 0u);
    kernels().pack(p);
    d.source = p.tile;
    d.y = packing_.row_lines * packing_.y_rows * sizeof(MatrixRow);
    d.column = packing_.column_lines * sizeof(MatrixRow);
    d.x = d.column * packing_.x_columns;
    if (!shared) d.column = d.x;
    d.cell = sizeof(MatrixRow);
    d.outer_step = packing_.row_lines * sizeof(MatrixRow);
    d.inner_step = kMatrixRows * sizeof(MatrixRow);
  }

  void describe_rows(Rows& r, Requantize& q) const {
    const int channel = part_.begin * kMatrixRows;
    const size_t plane = bf16() || q.to_floats ? channel : channel / 4;
    const size_t start = (static_cast<size_t>(tile_.y) * call_.out_w + tile_.x) * call_.isa->lanes;
    if (!bf16()) q.multiplier += channel, r.requantize = &q;
    r.th = tile_.th;
    r.tw = tile_.tw;
    r.bias = call_.bias + channel;
    if (call_.pixels != nullptr) {
      const PlaneShape& s = call_.out_plane;
      const size_t first = image_ * call_.conv->out_channels + channel;
      r.pixels = {call_.pixels + first * s.H * s.W, s, tile_.y, tile_.x};
    }
    if (call_.out.first != nullptr) r.out = call_.out.first + image_ * call_.out.image + plane * call_.out.channel + start;
    r.out_channel = call_.out.channel;
    r.out_pitch = call_.out_w;
    if (call_.rounded.first != nullptr) {
      r.rounded = reinterpret_cast<uint32_t*>(call_.rounded.first) + image_ * call_.rounded.image + plane / 2 * call_.rounded.channel + start;
      r.rounded_channel = call_.rounded.channel;
    }
    if (call_.add.first != nullptr) {
      r.add = call_.add.first + image_ * call_.add.image + plane * call_.add.channel + start;
      r.add_channel = call_.add.channel;
    }
    r.channels = std::min((part_.end - part_.begin) * kMatrixRows, call_.conv->out_channels - channel);
    r.finish = call_.finish;
  }

  const ConvCall& call_;
  const DenseWeights& weights_;
  const Tile& tile_;
  size_t image_;
  Part part_;
  Worker& worker_;
  DenseTile packing_;
};

// Where tiles are too few to keep all threads busy, their rows are divided, but for groups that share their places.
std::vector<Part> split_groups(int groups, int shared, int64_t tasks, int threads) {
  const int units = groups / shared, parts = parts_of_task(tasks, threads);
  const int each = shared * std::max(1, (units + parts - 1) / parts);
  std::vector<Part> result;
  for (int g = 0; g < groups; g += each) result.push_back({g, std::min(groups, g + each)});
  return result;
}

}  // namespace

void run_dense(const ConvCall& call, Parallel& parallel, Workspace& workspace, std::atomic<int>& threads) {
  const auto n_tiles = static_cast<int64_t>(call.tiles->size());
  const int groups = (call.conv->out_channels + kMatrixRows - 1) / kMatrixRows;
  const int shared = std::max(1, call.conv->dense.shared);
  const std::vector<Part> parts = split_groups(groups, shared, n_tiles * call.n, threads);
  const auto n_parts = static_cast<int64_t>(parts.size());
  const int seen = for_each_task(parallel, n_tiles * call.n * n_parts, [&](int worker, int64_t task) {
    const int64_t at = task / n_parts;
    DenseTask(call, (*call.tiles)[at % n_tiles], static_cast<int>(at / n_tiles), parts[task % n_parts],
              workspace.workers[worker])
        .run();
  });
  note_threads(threads, seen);
}

}  // namespace lth
