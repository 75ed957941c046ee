// Planes turned into lines whose lanes are channels, one for each pixel, and back.
// Requires vectors.inl, layout_conversion.inl.

#if LTH_LANES == 16 && defined(__AVX512BW__)

// Rows of the grid of four lines, as if they were matrices: line i holds what was row i of every one.
inline __attribute__((always_inline)) void transpose_grid_rows(I& a, I& b, I& c, I& d) {
  const __m512i even = _mm512_shuffle_i32x4((__m512i)a, (__m512i)b, 0x88), odd = _mm512_shuffle_i32x4((__m512i)a, (__m512i)b, 0xdd);
  const __m512i even2 = _mm512_shuffle_i32x4((__m512i)c, (__m512i)d, 0x88), odd2 = _mm512_shuffle_i32x4((__m512i)c, (__m512i)d, 0xdd);
  a = (I)_mm512_shuffle_i32x4(even, even2, 0x88);
  b = (I)_mm512_shuffle_i32x4(odd, odd2, 0x88);
  c = (I)_mm512_shuffle_i32x4(even, even2, 0xdd);
  d = (I)_mm512_shuffle_i32x4(odd, odd2, 0xdd);
}

inline __attribute__((always_inline)) void exchange_grid_rows(I (&v)[kLanes]) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) transpose_grid_rows(v[i], v[4 + i], v[8 + i], v[12 + i]);
}

#else

template <int K>
inline __attribute__((always_inline)) void collect_grid_rows(const I (&v)[kLanes], int i, I (&made)[kLanes]) {
  Q rows[kGridY];
#pragma GCC unroll 4
  for (int g = 0; g < kGridY; ++g) rows[g] = grid_row<K>(v[4 * g + i]);
  made[4 * K + i] = of_grid_rows(rows);
  if constexpr (K + 1 < kGridY) collect_grid_rows<K + 1>(v, i, made);
}

inline __attribute__((always_inline)) void exchange_grid_rows(I (&v)[kLanes]) {
  if constexpr (kGridY > 1) {
    I made[kLanes];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) collect_grid_rows<0>(v, i, made);
#pragma GCC unroll 16
    for (int l = 0; l < kLanes; ++l) v[l] = made[l];
  }
}

#endif

// As many lines as they have lanes, as if they were a matrix: line i holds what was lane i of every one.
inline __attribute__((always_inline)) void transpose_lines(I (&v)[kLanes]) {
#pragma GCC unroll 4
  for (int g = 0; g < kGridY; ++g) {
    I four[4] = {v[4 * g], v[4 * g + 1], v[4 * g + 2], v[4 * g + 3]};
    transpose_cells(four);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) v[4 * g + i] = four[i];
  }
  exchange_grid_rows(v);
}

// f(l, row, column) for each lane of line (y, x) whose pixel is one of the first rows and columns.
template <class Pixel>
inline __attribute__((always_inline)) void each_pixel(const TurnedPlanes& a, int y, int x, const Pixel& f) {
#pragma GCC unroll 16
  for (int l = 0; l < kLanes; ++l) {
    const int row = l / kGridX * a.plane.h + y, column = l % kGridX * a.plane.w + x;
    if (row < a.rows && column < a.columns) f(l, (static_cast<size_t>(row) * a.pitch + column) * kLanes);
  }
}

void turn(const TurnedPlanes& a) {
  size_t line = 0;
  for (int y = 0; y < a.plane.h; ++y) {
    for (int x = 0; x < a.plane.w; ++x, line += kLanes) {
      I v[kLanes];
#pragma GCC unroll 16
      for (int k = 0; k < kLanes; ++k) v[k] = load_cells(a.planes + (k < a.channels ? k : 0) * a.channel_cells + line);
      transpose_lines(v);
      each_pixel(a, y, x, [&](int l, size_t at) { store_cells(a.pixels + at, v[l]); });
    }
  }
}

void turn_back(const TurnedPlanes& a) {
  size_t line = 0;
  for (int y = 0; y < a.plane.h; ++y) {
    for (int x = 0; x < a.plane.w; ++x, line += kLanes) {
      I v[kLanes] = {};
      each_pixel(a, y, x, [&](int l, size_t at) { v[l] = load_cells(a.pixels + at); });
      transpose_lines(v);
#pragma GCC unroll 16
      for (int k = 0; k < kLanes; ++k) {
        if (k < a.channels) store_cells(a.planes + k * a.channel_cells + line, v[k]);
      }
    }
  }
}
