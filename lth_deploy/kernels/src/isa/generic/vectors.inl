// Vectors of LTH_LANES cells, and what is done to them everywhere.
// Requires the macro LTH_LANES (macros.inl), and isa/isa.h.

constexpr int kLanes = LTH_LANES;
constexpr int kGridY = kLanes / kGridX;
constexpr int kLine = kLanes * 4;  // bytes

typedef float F __attribute__((vector_size(LTH_LANES * 4)));
typedef int32_t I __attribute__((vector_size(LTH_LANES * 4)));
typedef float Q __attribute__((vector_size(16)));
typedef int32_t CellsOfRow __attribute__((vector_size(16)));  // of the lane grid
typedef float QU __attribute__((vector_size(16), aligned(4)));

inline __attribute__((always_inline)) F broadcast(float x) { return x - F{}; }
inline __attribute__((always_inline)) F load_line(const void* p) { return *static_cast<const F*>(p); }
inline __attribute__((always_inline)) void store_line(void* p, F v) { *static_cast<F*>(p) = v; }
inline __attribute__((always_inline)) F larger(F x, F y) { return x > y ? x : y; }
inline __attribute__((always_inline)) F smaller(F x, F y) { return x < y ? x : y; }
inline __attribute__((always_inline)) I load_cells(const void* p) { return *static_cast<const I*>(p); }
inline __attribute__((always_inline)) void store_cells(void* p, I v) { *static_cast<I*>(p) = v; }
inline __attribute__((always_inline)) I broadcast_cell(uint32_t x) { return static_cast<int32_t>(x) - I{}; }

#if LTH_LANES == 16 && defined(__AVX512BW__)

// Cells K and K + 1 of every four of a and of b: a, b, a, b.
template <int K>
inline __attribute__((always_inline)) I zip_cells(I a, I b) {
  return (I)(K == 0 ? _mm512_unpacklo_epi32((__m512i)a, (__m512i)b) : _mm512_unpackhi_epi32((__m512i)a, (__m512i)b));
}

// Row K of the lane grid, and a line of all its rows. Not by way of memory, where a line waits for its parts.
template <int K>
inline __attribute__((always_inline)) Q grid_row(I v) { return (Q)_mm512_extracti32x4_epi32((__m512i)v, K); }

inline __attribute__((always_inline)) I of_grid_rows(const Q (&q)[kGridY]) {
  __m512i v = _mm512_castsi128_si512((__m128i)q[0]);
  v = _mm512_inserti32x4(v, (__m128i)q[1], 1);
  v = _mm512_inserti32x4(v, (__m128i)q[2], 2);
  return (I)_mm512_inserti32x4(v, (__m128i)q[3], 3);
}

#elif LTH_LANES == 8 && defined(__AVX2__)

template <int K>
inline __attribute__((always_inline)) Q grid_row(I v) { return (Q)_mm256_extracti128_si256((__m256i)v, K); }

inline __attribute__((always_inline)) I of_grid_rows(const Q (&q)[kGridY]) {
  return (I)_mm256_inserti128_si256(_mm256_castsi128_si256((__m128i)q[0]), (__m128i)q[1], 1);
}

template <int K>
inline __attribute__((always_inline)) I zip_cells(I a, I b) {
  return (I)(K == 0 ? _mm256_unpacklo_epi32((__m256i)a, (__m256i)b) : _mm256_unpackhi_epi32((__m256i)a, (__m256i)b));
}

#else

template <int K>
inline __attribute__((always_inline)) Q grid_row(I v) {
  Q q;
  __builtin_memcpy(&q, reinterpret_cast<const char*>(&v) + 16 * K, sizeof q);
  return q;
}

inline __attribute__((always_inline)) I of_grid_rows(const Q (&q)[kGridY]) {
  I v;
  __builtin_memcpy(&v, q, sizeof v);
  return v;
}

template <int K>
inline __attribute__((always_inline)) I zip_cells(I a, I b) {
  I made{};
#pragma GCC unroll 16
  for (int l = 0; l < kLanes; ++l) made[l] = (l % 2 == 0 ? a : b)[l / 4 * 4 + K + l % 4 / 2];
  return made;
}

#endif

// Four cells of four lines each, as if they were matrices: line i holds what was cell i of every four.
inline __attribute__((always_inline)) void transpose_cells(I (&v)[4]) {
  I low[2], high[2];
  low[0] = zip_cells<0>(v[0], v[2]), high[0] = zip_cells<2>(v[0], v[2]);
  low[1] = zip_cells<0>(v[1], v[3]), high[1] = zip_cells<2>(v[1], v[3]);
  v[0] = zip_cells<0>(low[0], low[1]), v[1] = zip_cells<2>(low[0], low[1]);
  v[2] = zip_cells<0>(high[0], high[1]), v[3] = zip_cells<2>(high[0], high[1]);
}
