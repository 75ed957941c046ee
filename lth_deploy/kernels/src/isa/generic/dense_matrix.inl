// Convolutions of int8 and bf16 weights by matrix tiles, in dense form: a tile of 16 output rows by 16 cells of weights, times one of 16 cells by the 16 lanes
// of a line. Included by isa/amx.cpp and isa/amx_emulated.cpp, which set the macros that macros.inl lists.
#define LTH_LANES 16
#include "isa/generic/macros.inl"
#include "isa/isa.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lth {
namespace {

#include "isa/generic/vectors.inl"
#include LTH_TILES
#include "isa/generic/activations.inl"
#include "isa/generic/int8_vectors.inl"
#include "isa/generic/int8_epilogue.inl"
#include "isa/generic/planes/pixel_rows.inl"
#include "isa/generic/window_reads.inl"
#include "isa/generic/bf16/rounding.inl"

constexpr int kTileBytes = kMatrixRows * static_cast<int>(sizeof(MatrixRow));
constexpr int kWeightTile = kMatrixLines, kLineTile = 7;  // behind the accumulators: up to three of weights, one of lines

// ---- packing

// One position of the packed tile, all cells.
inline void pack_position(const PackDense& a, const Fetch& f, I fill, uint32_t* to) {
  for (int cell = 0; cell < a.n_cells; ++cell, to += kLanes) {
    store_cells(to, fetch(f, a.map.aligned, a.source + cell * a.channel_cells, fill));
  }
}

// `count` columns of one row whose lines are neighbors in the source, `step` lines of the source from one to the next.
inline void pack_plain(const PackDense& a, size_t line, int count, int step, uint32_t* to) {
  const size_t column = a.column_lines * kLanes;
  for (int cell = 0; cell < a.n_cells; ++cell, to += kLanes) {
    const uint32_t* const from = a.source + cell * a.channel_cells + line * kLanes;
    const uint32_t* const next = from + (cell + 1 < a.n_cells ? a.channel_cells : 0);
    for (int c = 0; next != from && c < count; ++c) __builtin_prefetch(next + static_cast<size_t>(c) * step * kLanes);
    for (int c = 0; c < count; ++c) store_cells(to + c * column, load_cells(from + static_cast<size_t>(c) * step * kLanes));
  }
}

inline int source_column(const PackDense& a, int packed) {
  return a.col0 + (a.kw < a.sw ? packed / a.kw * a.sw + packed % a.kw : packed);
}

// One row of lines.
inline void pack_row(const PackDense& a, int r, I fill, uint32_t* to) {
  const Axis* const columns = a.map.columns;
  const bool plain_row = a.map.aligned && a.map.rows[r].plain;
  for (int c = 0; c < a.columns;) {
    const int at = source_column(a, c);
    int count = 0, step = 1;
    while (plain_row && c + count < a.columns) {
      const int next = source_column(a, c + count);
      if (!columns[next].plain) break;
      if (count == 1) step = columns[next].source - columns[at].source;
      if (count > 0 && columns[next].source != columns[at].source + count * step) break;
      ++count;
    }
    uint32_t* const here = to + c * a.column_lines * kLanes;
    if (count == 0) {
      pack_position(a, prepare(a.map, r, at), fill, here);
    } else {
      pack_plain(a, static_cast<size_t>(a.map.rows[r].source) * a.map.source_w + columns[at].source, count, step, here);
    }
    c += count > 0 ? count : 1;
  }
}

void pack_dense(const PackDense& a) {
  if (a.contiguous) return pack_plain(a, a.first, a.columns, 1, a.tile);
  const I fill = static_cast<int32_t>(a.fill) - I{};
  for (int y = 0; y < a.n_y; ++y) {
    for (int ky = 0; ky < a.n_ky; ++ky) {
      uint32_t* const to = a.tile + (y * a.row_lines + static_cast<size_t>(ky) * a.n_cells) * kLanes;
      pack_row(a, a.row0 + y * a.row_step + ky, fill, to);
    }
  }
}

// ---- multiply-adds

// The products of one loaded column of lines, with each column of the window that reads it.
template <class T, int LINES, int STRIDE, int COLUMNS, int J, int KX>
inline __attribute__((always_inline)) void multiply_column() {
  constexpr int from = J - KX;
  if constexpr (from >= 0 && from % STRIDE == 0 && from / STRIDE < LINES) {
    T::template multiply<from / STRIDE, kWeightTile + KX, kLineTile>();
  }
  if constexpr (KX + 1 < COLUMNS) multiply_column<T, LINES, STRIDE, COLUMNS, J, KX + 1>();
}

template <class T, int LINES, int STRIDE, int COLUMNS, int J>
inline __attribute__((always_inline)) void multiply_columns(const char* lines, size_t column, size_t cell) {
  load_tile<kLineTile>(lines, cell);
  multiply_column<T, LINES, STRIDE, COLUMNS, J, 0>();
  if constexpr (J + 1 < (LINES - 1) * STRIDE + COLUMNS) {
    multiply_columns<T, LINES, STRIDE, COLUMNS, J + 1>(lines + column, column, cell);
  }
}

// Into the accumulators from FIRST on.
template <int LINES, int FIRST = 0, int L = 0>
inline __attribute__((always_inline)) void load_bias(const MatrixRow* bias) {
  load_tile<FIRST + L>(bias, sizeof(MatrixRow));
  if constexpr (L + 1 < LINES) load_bias<LINES, FIRST, L + 1>(bias);
}

// [row][line] lines, as finish_four_rows reads them.
template <int LINES, int FIRST = 0, int L = 0>
inline __attribute__((always_inline)) void store_sums(MatrixRow* to) {
  store_tile<FIRST + L>(to + L, LINES * sizeof(MatrixRow));
  if constexpr (L + 1 < LINES) store_sums<LINES, FIRST, L + 1>(to);
}

// The accumulators of 16 rows for LINES neighboring lines. next: matrix rows to the weights that are prefetched into the L2 cache
// meanwhile; 0 for none.
template <class T, int LINES, int STRIDE, int COLUMNS>
inline __attribute__((always_inline)) void sum_block(const DenseRows& a, const char* lines, const MatrixRow* weights,
                                                     const MatrixRow* bias, size_t next) {
  load_bias<LINES>(bias);
  for (int o = 0; o < a.outer; ++o, lines += a.outer_step) {
    const char* from = lines;
    for (int i = 0; i < a.inner; ++i, from += a.inner_step, weights += COLUMNS * kMatrixRows) {
      for (int row = 0; next != 0 && row < COLUMNS * kMatrixRows; ++row) __builtin_prefetch(weights + next + row, 0, 2);
      stream_tile<kWeightTile>(weights, sizeof(MatrixRow));
      if constexpr (COLUMNS > 1) {
        stream_tile<kWeightTile + 1>(weights + kMatrixRows, sizeof(MatrixRow));
        stream_tile<kWeightTile + 2>(weights + 2 * kMatrixRows, sizeof(MatrixRow));
      }
      multiply_columns<T, LINES, STRIDE, COLUMNS, 0>(from, a.column, a.cell);
    }
  }
}

// A block of lines of one row of the tile.
struct LineBlock {
  int y, x, n;
};

// The accumulators of rows [first, end) of a block, [row][line], become cells. line: cells from the tile's first line to the block's.
template <int LINES, bool ADD, bool ACT>
inline void finish_block(const Rows& a, const float* sums, int first, int end, size_t line) {
  const Requantize& q = *a.requantize;
  const B low = uint8_bound(q.low), high = uint8_bound(q.high);
  for (int row = first; row < end; row += 4, sums += 4 * LINES * kLanes) {
    const F m[4] = {broadcast(q.multiplier[row]), broadcast(q.multiplier[row + 1]), broadcast(q.multiplier[row + 2]),
                    broadcast(q.multiplier[row + 3])};
    float* const out = a.out + row / 4 * a.out_channel + line;
    const uint32_t* const add = ADD ? reinterpret_cast<const uint32_t*>(a.add + row / 4 * a.add_channel + line) : nullptr;
#pragma GCC unroll 4
    for (int l = 0; l < LINES; ++l) {
      store_cells(out + l * kLanes, finished<ADD, ACT>(sums + l * kLanes, LINES * kLanes, m, q, add + l * kLanes, low, high));
    }
  }
}

// ... become float32.
template <int LINES, class Made>
inline __attribute__((always_inline)) void finish_floats(const Rows& a, const float* sums, int first, int end, size_t line,
                                                         const Made& made) {
  for (int row = first; row < end; ++row, sums += LINES * kLanes) {
    float* const out = a.out + (row - a.out_row) * a.out_channel + line;
#pragma GCC unroll 4
    for (int l = 0; l < LINES; ++l) store_line(out + l * kLanes, made(sums + l * kLanes, row, l));
  }
}

inline int end_of_group(const Rows& a, int first) { return first + kMatrixRows < a.channels ? first + kMatrixRows : a.channels; }

template <int LINES>
inline __attribute__((always_inline)) void finish_rows(const Rows& a, const MatrixRow* block, int first, size_t line) {
  const float* const sums = reinterpret_cast<const float*>(block);
  const int end = end_of_group(a, first);
  const Requantize& q = *a.requantize;
  const bool act = q.finish.epilogue != Epilogue::kNone;
  if (q.to_floats) {
    // Without an activation no line calls one: the compiler does not inline it.
    const auto real = [&](const float* sum, int row, int) { return real_of(sum) * broadcast(q.multiplier[row]); };
    const auto activated = [&](const float* sum, int row, int l) { return activate(real(sum, row, l), q.finish); };
    act ? finish_floats<LINES>(a, sums, first, end, line, activated) : finish_floats<LINES>(a, sums, first, end, line, real);
  } else if (a.add != nullptr) {
    act ? finish_block<LINES, true, true>(a, sums, first, end, line) : finish_block<LINES, true, false>(a, sums, first, end, line);
  } else {
    act ? finish_block<LINES, false, true>(a, sums, first, end, line) : finish_block<LINES, false, false>(a, sums, first, end, line);
  }
}

// float32 sums of 16 rows, [row][line], with the residual and the activation.
template <int LINES>
inline void finish_float_rows(const Rows& a, const MatrixRow* block, int first, size_t line) {
  finish_floats<LINES>(a, reinterpret_cast<const float*>(block), first, end_of_group(a, first), line,
                       [&](const float* sums, int row, int l) {
    const F sum = load_line(sums);
    return activate(a.add != nullptr ? sum + load_line(a.add + row * a.add_channel + line + l * kLanes) : sum, a.finish);
  });
}

// The same for layers of bf16 weights behind this one, whose input is rounded: two rows make a line of cells. `out` may be null.
template <int LINES>
inline void finish_rounded_rows(const Rows& a, const MatrixRow* block, int first, size_t line) {
  const float* sums = reinterpret_cast<const float*>(block);
  const int end = end_of_group(a, first);
  const auto finished = [&](int row, int l) {
    const F sum = load_line(sums + (static_cast<size_t>(row - first) * LINES + l) * kLanes);
    const F added = a.add != nullptr ? sum + load_line(a.add + row * a.add_channel + line + l * kLanes) : sum;
    const F made = activate(added, a.finish);
    if (a.out != nullptr) store_line(a.out + row * a.out_channel + line + l * kLanes, made);
    return made;
  };
  for (int row = first; row < end; row += 2) {
    uint32_t* const rounded = a.rounded + row / 2 * a.rounded_channel + line;
#pragma GCC unroll 4
    for (int l = 0; l < LINES; ++l) {
      const F even = finished(row, l);
      store_cells(rounded + l * kLanes, joined(even, row + 1 < end ? finished(row + 1, l) : F{}));
    }
  }
}

// Where results of floats go and residuals lie, which are read and written when the block's products are done: of a large tensor
// these lines come from memory.
template <int LINES>
inline __attribute__((always_inline)) void prefetch_results(const Rows& a, int first, size_t line) {
  const int end = end_of_group(a, first);
  const bool lines = a.out != nullptr && a.out != a.add && a.pixels.first == nullptr;
  for (int row = first; lines && row < end; ++row) {
    for (int l = 0; l < LINES; ++l) __builtin_prefetch(a.out + row * a.out_channel + line + l * kLanes, 1);
  }
  for (int row = first; a.add != nullptr && row < end; ++row) {
    for (int l = 0; l < LINES; ++l) __builtin_prefetch(a.add + row * a.add_channel + line + l * kLanes, 1);
  }
  const bool over_residual = reinterpret_cast<const float*>(a.rounded) == a.add;
  for (int row = first; a.rounded != nullptr && !over_residual && row < end; row += 2) {
    for (int l = 0; l < LINES; ++l) __builtin_prefetch(a.rounded + row / 2 * a.rounded_channel + line + l * kLanes, 1);
  }
}

// f(pixels of the channel, lines of the row) for up to `rows` rows from the one on that `out` belongs to.
template <class F>
inline void each_pixel_plane(const DenseRows& a, int rows, F&& f) {
  const PixelRows& p = a.rows.pixels;
  const size_t plane = static_cast<size_t>(p.plane.H) * p.plane.W;
  const int first = a.rows.out_row, end = first + rows < a.rows.channels ? first + rows : a.rows.channels;
  for (int row = first; row < end; ++row) f(p.first + row * plane, a.rows.out + (row - first) * a.rows.out_channel);
}

inline bool streams(const Rows& a) {
  return a.pixels.x == 0 && a.tw == a.pixels.plane.w && can_stream(a.pixels.plane, a.pixels.first);
}

// Row y of the tile becomes pixels.
void store_pixels(const DenseRows& a, int y, int rows) {
  const PixelRows& p = a.rows.pixels;
  const bool streamed = streams(a.rows);
  each_pixel_plane(a, rows, [&](float* pixels, const float* lines) {
    streamed ? stream_row(lines, p.plane, p.y + y, pixels) : store_row(lines, p.plane, p.y + y, p.x, p.x + a.rows.tw, pixels);
  });
}

// What it will be written to is prefetched before it is computed: a row ahead would be lost meanwhile.
void prefetch_pixels(const DenseRows& a, int y, int rows) {
  if (streams(a.rows)) return;
  const PixelRows& p = a.rows.pixels;
  each_pixel_plane(a, rows, [&](const float* pixels, const float*) {
    prefetch_row(p.plane, p.y + y, p.x, p.x + a.rows.tw, pixels);
  });
}

// What is multiplied, and what becomes of the sums.
struct Bytes {
  template <int C, int A, int B>
  static inline __attribute__((always_inline)) void multiply() { multiply_bytes<C, A, B>(); }
  template <int LINES>
  static inline __attribute__((always_inline)) void prefetch(const Rows&, int, size_t) {}
  template <int LINES>
  static inline __attribute__((always_inline)) void finish(const Rows& a, const MatrixRow* block, int first, size_t line) {
    finish_rows<LINES>(a, block, first, line);
  }
};

struct Bfloats {
  template <int C, int A, int B>
  static inline __attribute__((always_inline)) void multiply() { multiply_bf16<C, A, B>(); }
  template <int LINES>
  static inline __attribute__((always_inline)) void prefetch(const Rows& a, int first, size_t line) {
    prefetch_results<LINES>(a, first, line);
  }
  template <int LINES>
  static inline __attribute__((always_inline)) void finish(const Rows& a, const MatrixRow* block, int first, size_t line) {
    a.rounded != nullptr ? finish_rounded_rows<LINES>(a, block, first, line) : finish_float_rows<LINES>(a, block, first, line);
  }
};

template <class T, int LINES, int STRIDE, int COLUMNS>
__attribute__((noinline)) void run_block(const DenseRows& a, const LineBlock& block, int group) {
  // The weights of a large layer come from memory, those of the next group while the first block of this one is multiplied.
  const bool first = !a.lines_first && block.x == 0 && block.y == 0 && group + 1 < a.groups;
  const MatrixRow* const bias = a.scratch + group * kMatrixRows;
  MatrixRow* const sums = a.scratch + a.groups * kMatrixRows;
  const size_t line = (static_cast<size_t>(block.y) * a.rows.out_pitch + block.x) * kLanes;
  T::template prefetch<LINES>(a.rows, group * kMatrixRows, line);
  sum_block<T, LINES, STRIDE, COLUMNS>(a, static_cast<const char*>(a.source) + block.y * a.y + block.x * a.x,
                                    a.weights + group * a.group_rows, bias, first ? a.group_rows : 0);
  store_sums<LINES>(sums);
  T::template finish<LINES>(a.rows, sums, group * kMatrixRows, line);
}

typedef void (*BlockFn)(const DenseRows&, const LineBlock&, int group);

template <class T, int LINES>
BlockFn block_kernel(int columns, int stride) {
  if (columns == 1) return run_block<T, LINES, 1, 1>;
  return stride == 1 ? run_block<T, LINES, 1, 3> : run_block<T, LINES, 2, 3>;
}

void spread_bias(const DenseRows& a) {
  for (int row = 0; row < a.groups * kMatrixRows; ++row) {
    store_cells(a.scratch + row, broadcast_cell(row < a.rows.channels ? a.rows.bias[row] : 0));
  }
}

// The lines of a row in blocks as equal as can be, of `most` lines. rows: of which results may become pixels.
template <class F>
inline void each_block(const DenseRows& a, int most, int rows, F&& f) {
  const int n = (a.rows.tw + most - 1) / most;
  const bool pixels = a.rows.pixels.first != nullptr;
  for (int y = 0; y < a.rows.th; ++y) {
    if (pixels) prefetch_pixels(a, y, rows);
    for (int b = 0, x = 0; b < n; ++b) {
      const int lines = a.rows.tw / n + (b < a.rows.tw % n);
      f(LineBlock{y, x, lines});
      x += lines;
    }
    if (pixels) store_pixels(a, y, rows);
  }
}

// The same with the memory in which the results of rows from `first` on wait to become pixels, if they do.
inline DenseRows from_row(const DenseRows& a, int first) {
  DenseRows here = a;
  if (a.rows.pixels.first == nullptr) return here;
  here.rows.out = reinterpret_cast<float*>(a.finished);
  here.rows.out_row = first;
  here.rows.out_channel = static_cast<size_t>(a.rows.tw) * kLanes;
  here.rows.out_pitch = 0;
  return here;
}

template <class T>
void dense_rows(const DenseRows& a) {
  spread_bias(a);
  const BlockFn kernels[kMatrixLines] = {block_kernel<T, 1>(a.columns, a.stride), block_kernel<T, 2>(a.columns, a.stride),
                                         block_kernel<T, 3>(a.columns, a.stride), block_kernel<T, 4>(a.columns, a.stride)};
  const Tiles tiles;
  if (a.lines_first) {
    each_block(a, kMatrixLines, 0, [&](const LineBlock& block) {
      for (int group = 0; group < a.groups; ++group) kernels[block.n - 1](a, block, group);
    });
    return;
  }
  for (int group = 0; group < a.groups; ++group) {
    const DenseRows here = from_row(a, group * kMatrixRows);
    each_block(here, kMatrixLines, kMatrixRows, [&](const LineBlock& block) { kernels[block.n - 1](here, block, group); });
  }
  end_of_stream();
}

#include "isa/generic/gathered_matrix.inl"

constexpr DenseKernels kDense = {LTH_ISA_NAME, pack_dense, dense_rows<Bytes>, gathered_rows<Bytes>};
constexpr DenseKernels kDenseBf16 = {LTH_ISA_NAME, pack_dense, dense_rows<Bfloats>, gathered_rows<Bfloats>};

}  // namespace
}  // namespace lth
