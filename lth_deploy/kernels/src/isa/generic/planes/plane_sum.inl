// The sum of the pixels of a plane; lanes outside of the image hold anything.
// Requires window_reads.inl, layout_conversion.inl.

// Lanes of the first `there` rows of the grid.
inline I grid_rows_mask(int there) { return lane_numbers() < broadcast_cell(static_cast<uint32_t>(there * kGridX)); }

// Lanes whose column x of their sub-image exists.
inline I columns_mask(const PlaneShape& s, int x) {
  const I column = (lane_numbers() & broadcast_cell(kGridX - 1)) * broadcast_cell(static_cast<uint32_t>(s.w));
  return column + broadcast_cell(static_cast<uint32_t>(x)) < broadcast_cell(static_cast<uint32_t>(s.W));
}

inline F masked(F x, I mask) { return reinterpret_cast<F>(reinterpret_cast<I>(x) & mask); }

// Of n lines, `step` cells from one to the next.
inline F sum_of_lines(const float* from, int n, size_t step) {
  F sum[4] = {};
  int i = 0;
  for (; i + 4 <= n; i += 4, from += 4 * step) {
    for (int k = 0; k < 4; ++k) sum[k] += load_line(from + k * step);
  }
  for (; i < n; ++i, from += step) sum[0] += load_line(from);
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

template <int K = 0>
inline Q sum_of_grid_rows(I v) {
  if constexpr (K + 1 < kGridY) {
    return grid_row<K>(v) + sum_of_grid_rows<K + 1>(v);
  } else {
    return grid_row<K>(v);
  }
}

float sum_plane(const float* lines, const PlaneShape& s) {
  // Lines [0, whole) of a row have a pixel in every lane of a row of the grid that exists.
  const int beyond = kGridX * s.w - s.W, whole = beyond < s.w ? s.w - beyond : 0;
  const size_t row = static_cast<size_t>(s.w) * kLanes;
  F sum{};
  for (int y = 0; y < s.h; ++y) {
    const float* const from = lines + y * row;
    F of_row = sum_of_lines(from, whole, kLanes);
    for (int x = whole; x < s.w; ++x) of_row += masked(load_line(from + x * kLanes), columns_mask(s, x));
    const int there = rows_with(s, y);
    sum += there == kGridY ? of_row : masked(of_row, grid_rows_mask(there));
  }
  const Q rows = sum_of_grid_rows(reinterpret_cast<I>(sum));
  return (rows[0] + rows[1]) + (rows[2] + rows[3]);
}
