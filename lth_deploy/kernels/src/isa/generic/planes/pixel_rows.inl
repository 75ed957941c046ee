// From the lines of one channel to rows of pixels, 4 x 4 transposes at a time.
// Requires vectors.inl.

// Rows of the lane grid that have row y of their sub-image.
inline int rows_with(const PlaneShape& s, int y) { return y < s.H ? (s.H - 1 - y) / s.h + 1 : 0; }

// `count` pixels, four at most, of each of the first `there` rows of the grid, `step` floats from one row to the next.
template <int K = 0>
inline __attribute__((always_inline)) void store_grid_rows(I v, int there, size_t step, int count, float* to) {
  if (K >= there) return;
  const Q q = grid_row<K>(v);
  if (count >= 4) {
    *reinterpret_cast<QU*>(to) = q;
  } else {
    for (int i = 0; i < count; ++i) to[i] = q[i];
  }
  if constexpr (K + 1 < kGridY) store_grid_rows<K + 1>(v, there, step, count, to + step);
}

// What columns [first, end) of row y of the lines will be written to: a few dozen stores wait for the lines of memory that they
// write to, and each row begins new ones.
inline void prefetch_row(const PlaneShape& s, int y, int first, int end, const float* nchw) {
  const bool whole = end - first == s.w;
  for (int ly = 0; ly < rows_with(s, y); ++ly) {
    const float* const row = nchw + (static_cast<size_t>(ly) * s.h + y) * s.W;
    for (int lx = 0; lx < (whole ? 1 : kGridX); ++lx) {
      const int from = whole ? 0 : lx * s.w + first, to = whole ? s.W : lx * s.w + end;
      for (int x = from; x < to; x += 16) __builtin_prefetch(row + x, 1);
    }
  }
}

// Columns [first, end) of row y of the lines.
inline void store_row(const float* lines, const PlaneShape& s, int y, int first, int end, float* nchw) {
  const int there = rows_with(s, y);
  float* const row0 = nchw + static_cast<size_t>(y) * s.W;
  const size_t step = static_cast<size_t>(s.h) * s.W;
  if (end - first < 4) {
    for (int x = first; x < end; ++x, lines += kLanes) {
      for (int l = 0; l < there * kGridX; ++l) {
        const int column = l % kGridX * s.w + x;
        if (column < s.W) row0[l / kGridX * step + column] = lines[l];
      }
    }
    return;
  }
  for (int x = first; x < end; x += 4) {
    const int at = x + 4 <= end ? x : end - 4;
    I v[4];
    for (int i = 0; i < 4; ++i) v[i] = load_cells(lines + (at - first + i) * kLanes);
    transpose_cells(v);
    for (int lx = 0; lx < kGridX; ++lx) {
      const int column = lx * s.w + at;
      store_grid_rows(v[lx], there, step, s.W - column, row0 + column);
    }
  }
}

// Wider planes have no rows that are streamed.
constexpr int kStreamedPixels = 256;

// Whether rows of pixels are whole lines of memory.
inline bool can_stream(const PlaneShape& s, const float* nchw) {
  return s.w >= 4 && s.W % 16 == 0 && s.W <= kStreamedPixels && reinterpret_cast<uintptr_t>(nchw) % 64 == 0;
}

inline __attribute__((always_inline)) void stream_line(float* to, F v) {
#if LTH_LANES == 16 && defined(__AVX512F__)
  _mm512_stream_ps(to, (__m512)v);
#else
  store_line(to, v);
#endif
}

// As store_row for a whole row, by stores that pass by the caches: no line of memory is read before it is written.
inline void stream_row(const float* lines, const PlaneShape& s, int y, float* nchw) {
  alignas(kLine) float rows[kGridY][kStreamedPixels];
  for (int x = 0; x < s.w; x += 4) {
    const int at = x + 4 <= s.w ? x : s.w - 4;
    I v[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) v[i] = load_cells(lines + (at + i) * kLanes);
    transpose_cells(v);
#pragma GCC unroll 4
    for (int lx = 0; lx < kGridX; ++lx) {
      const int column = lx * s.w + at;
      store_grid_rows(v[lx], kGridY, kStreamedPixels, s.W - column, rows[0] + column);
    }
  }
  for (int ly = 0; ly < rows_with(s, y); ++ly) {
    float* const to = nchw + (static_cast<size_t>(ly) * s.h + y) * s.W;
    for (int x = 0; x < s.W; x += kLanes) stream_line(to + x, load_line(rows[ly] + x));
  }
}

// Streamed stores of this thread come before all later ones.
inline void end_of_stream() {
#if LTH_LANES == 16 && defined(__AVX512F__)
  _mm_sfence();
#endif
}
