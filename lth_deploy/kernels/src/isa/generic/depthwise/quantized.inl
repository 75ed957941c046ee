// Depthwise convolutions of quantized tensors. A cell holds four channels, and a product sums the four bytes of a cell: so
// the lines of four taps that lie below each other are transposed first, into a line of four taps for each channel.
// Requires int8_vectors.inl, int8_epilogue.inl; the macro LTH_MAX_ACC.

constexpr int kDepthwiseColumns = LTH_MAX_ACC >= 20 ? 2 : 1;  // of the output, whose accumulators are in registers together

// Line K of the result holds in each cell byte K of the four lines.
inline __attribute__((always_inline)) void transpose_bytes(I (&v)[4]) {
  typedef uint32_t U __attribute__((vector_size(LTH_LANES * 4)));
  const U even = U{} + 0x00ff00ffu, low = U{} + 0xffffu;
  const U a = reinterpret_cast<U>(v[0]), b = reinterpret_cast<U>(v[1]);
  const U c = reinterpret_cast<U>(v[2]), d = reinterpret_cast<U>(v[3]);
  const U ab = (a & even) | (b << 8 & ~even), cd = (c & even) | (d << 8 & ~even);         // bytes 0 and 2
  const U ab_odd = (a >> 8 & even) | (b & ~even), cd_odd = (c >> 8 & even) | (d & ~even);  // bytes 1 and 3
  v[0] = reinterpret_cast<I>((ab & low) | (cd << 16 & ~low));
  v[1] = reinterpret_cast<I>((ab_odd & low) | (cd_odd << 16 & ~low));
  v[2] = reinterpret_cast<I>((ab >> 16 & low) | (cd & ~low));
  v[3] = reinterpret_cast<I>((ab_odd >> 16 & low) | (cd_odd & ~low));
}

// How the source rows that output rows read together become groups of four, and how many columns of them there are.
struct TransposedRows {
  int groups, columns;

  explicit TransposedRows(const DepthwisePlane& a)
      : groups((a.kh + a.rows_together - 1 + 3) / 4), columns((a.tw - 1) * a.sw + (a.kw - 1) * a.dw + 1) {}

  // Of `rows` source rows from output row y on: behind the last one it is repeated, with which no weight is multiplied.
  void fill(const DepthwisePlane& a, int y, int rows) const {
    I* to = reinterpret_cast<I*>(a.columns);
    for (int g = 0; g < groups; ++g) {
      const I* from[4];
      for (int i = 0; i < 4; ++i) {
        const int row = y * a.sh + (4 * g + i < rows ? 4 * g + i : rows - 1) * a.dh;
        from[i] = reinterpret_cast<const I*>(a.source) + static_cast<size_t>(row) * a.pitch;
      }
      for (int j = 0; j < columns; ++j, to += 4) {
        I v[4] = {from[0][j], from[1][j], from[2][j], from[3][j]};
        transpose_bytes(v);
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) to[k] = v[k];
      }
    }
  }
};

inline __attribute__((always_inline)) void store_depthwise(const DepthwisePlane& a, const I (&sums)[4], int y, int x) {
  const Requantize& q = *a.requantize;
  const size_t at = (static_cast<size_t>(y) * a.out_pitch + x) * kLanes;
  if (q.to_floats) {
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      if (k >= a.channels) break;
      const F v = __builtin_convertvector(sums[k], F) * broadcast(q.multiplier[k]);
      store_line(a.out + k * a.out_channel + at, activate(v, q.finish));
    }
    return;
  }
  const F m[4] = {broadcast(q.multiplier[0]), broadcast(q.multiplier[1]), broadcast(q.multiplier[2]), broadcast(q.multiplier[3])};
  const B low = uint8_bound(q.low), high = uint8_bound(q.high);
  const bool act = q.finish.epilogue != Epilogue::kNone;
  I cells;
  if (a.add != nullptr) {
    const uint32_t* const add = reinterpret_cast<const uint32_t*>(a.add + at);
    cells = act ? finished<true, true>(sums, m, q, add, low, high) : finished<true, false>(sums, m, q, add, low, high);
  } else {
    cells = act ? finished<false, true>(sums, m, q, nullptr, low, high) : finished<false, false>(sums, m, q, nullptr, low, high);
  }
  store_cells(a.out + at, cells);
}

// R rows, of which `rows` exist, by X columns of the output.
template <int R, int X>
inline __attribute__((always_inline)) void depthwise_cells(const DepthwisePlane& a, const TransposedRows& from, int y, int x,
                                                           int rows) {
  I sums[R][X][4];
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    const I bias = broadcast_cell(a.bias[k]);
#pragma GCC unroll 4
    for (int i = 0; i < R * X; ++i) sums[i / X][i % X][k] = bias;
  }
  const uint32_t* weight = a.weight;
  for (int kx = 0; kx < a.kw; ++kx) {
    const I* column = reinterpret_cast<const I*>(a.columns) + 4 * (static_cast<size_t>(x) * a.sw + kx * a.dw);
    for (int g = 0; g < from.groups; ++g, column += 4 * from.columns) {
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) {
        I lines[X];
#pragma GCC unroll 2
        for (int j = 0; j < X; ++j) lines[j] = column[4 * j * a.sw + k];
#pragma GCC unroll 2
        for (int r = 0; r < R; ++r, ++weight) {
          const Int8Weight w = int8_weight(weight);
#pragma GCC unroll 2
          for (int j = 0; j < X; ++j) dot(sums[r][j][k], w, lines[j]);
        }
      }
    }
  }
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int j = 0; j < X; ++j) {
      if (r < rows) store_depthwise(a, sums[r][j], y + r, x + j);
    }
  }
}

template <int R>
void depthwise_rows(const DepthwisePlane& a) {
  const TransposedRows from(a);
  for (int y = 0; y < a.th; y += R) {
    const int rows = a.th - y < R ? a.th - y : R;
    from.fill(a, y, a.kh + rows - 1);
    int x = 0;
    for (; x + kDepthwiseColumns <= a.tw; x += kDepthwiseColumns) depthwise_cells<R, kDepthwiseColumns>(a, from, y, x, rows);
    for (; x < a.tw; ++x) depthwise_cells<R, 1>(a, from, y, x, rows);
  }
}

void depthwise_quantized(const DepthwisePlane& a) { a.rows_together == 2 ? depthwise_rows<2>(a) : depthwise_rows<1>(a); }
