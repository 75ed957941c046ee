// Pools: the largest cell, or byte, of every window of a plane.
// Requires vectors.inl.

// Of the rows of a window first, for all columns, and then of its columns.
template <class Larger>
inline __attribute__((always_inline)) void pool(const PoolPlane& a, Larger larger) {
  const int columns = (a.tw - 1) * a.sw + (a.kw - 1) * a.dw + 1;
  const size_t line = kLanes, row = a.pitch * line;
  const size_t next_rows = (static_cast<size_t>(a.kh - 1) * a.dh + 1) * row;  // what the row below this one reads first
  for (int y = 0; y < a.th; ++y) {
    const uint32_t* from = a.source + static_cast<size_t>(y) * a.sh * row;
    for (int c = 0; c < columns; ++c, from += line) {
      for (int r = 0; r < a.sh; ++r) __builtin_prefetch(from + next_rows + r * row);
      I best = load_cells(from);
      for (int ky = 1; ky < a.kh; ++ky) best = larger(best, load_cells(from + ky * a.dh * row));
      store_cells(a.maxima + c * line, best);
    }
    uint32_t* const to = a.out + static_cast<size_t>(y) * a.out_pitch * line;
    for (int x = 0; x < a.tw; ++x) {
      const uint32_t* const at = a.maxima + static_cast<size_t>(x) * a.sw * line;
      I best = load_cells(at);
      for (int kx = 1; kx < a.kw; ++kx) best = larger(best, load_cells(at + kx * a.dw * line));
      store_cells(to + x * line, best);
    }
  }
}

inline __attribute__((always_inline)) I larger_float(I x, I y) {
  return reinterpret_cast<I>(larger(reinterpret_cast<F>(x), reinterpret_cast<F>(y)));
}

inline __attribute__((always_inline)) I larger_uint8(I x, I y) {
  const B a = reinterpret_cast<B>(x), b = reinterpret_cast<B>(y);
  return reinterpret_cast<I>(a > b ? a : b);
}

void max_pool(const PoolPlane& a) { pool(a, larger_float); }

void max_pool_quantized(const PoolPlane& a) { pool(a, larger_uint8); }
