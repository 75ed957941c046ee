// Sums and means of quantized planes: four channels in the bytes of each cell.
// Requires plane_sum.inl, int8_elementwise.inl.

// of_row(line, mask) for each line of a plane: all bits of the mask are set in lanes that have a pixel.
template <class Each>
inline __attribute__((always_inline)) void each_masked_line(const uint32_t* lines, const PlaneShape& s, const Each& each) {
  const int beyond = kGridX * s.w - s.W, whole = beyond < s.w ? s.w - beyond : 0;
  for (int y = 0; y < s.h; ++y) {
    const I rows = grid_rows_mask(rows_with(s, y));
    for (int x = 0; x < whole; ++x, lines += kLanes) each(load_cells(lines), rows);
    for (int x = whole; x < s.w; ++x, lines += kLanes) each(load_cells(lines), rows & columns_mask(s, x));
  }
}

inline float sum_of_lanes(F x) {
  const Q rows = sum_of_grid_rows(reinterpret_cast<I>(x));
  return (rows[0] + rows[1]) + (rows[2] + rows[3]);
}

void sum_quantized(const uint32_t* lines, const PlaneShape& s, const Requantize& q, float* sums) {
  const F scale = broadcast(q.add_scale), zero = broadcast(q.add_zero);
  F sum[4] = {};
  with_activation(q.finish, [&](auto act) {
    each_masked_line(lines, s, [&](I cells, I mask) {
      sum[0] += masked(act((byte_of<0>(cells) - zero) * scale), mask);
      sum[1] += masked(act((byte_of<1>(cells) - zero) * scale), mask);
      sum[2] += masked(act((byte_of<2>(cells) - zero) * scale), mask);
      sum[3] += masked(act((byte_of<3>(cells) - zero) * scale), mask);
    });
  });
  for (int k = 0; k < 4; ++k) sums[k] = sum_of_lanes(sum[k]);
}

void average_quantized(const uint32_t* const* at, int n, const float* offset, const float* factor, int lines,
                       int32_t zero_point, uint32_t* out) {
  for (size_t i = 0; i < static_cast<size_t>(lines) * kLanes; i += kLanes) {
    // Two sums of 16 bits in each cell: of bytes 0 and 2, and of bytes 1 and 3. A window has at most 225 taps.
    I even{}, odd{};
    for (int k = 0; k < n; ++k) {
      const I cells = load_cells(at[k] + i);
      even += cells & broadcast_cell(0x00ff00ffu);
      odd += cells >> 8 & broadcast_cell(0x00ff00ffu);
    }
    const F shift = load_line(offset + i), times = load_line(factor + i);
    const auto steps = [&](I sums) { return (__builtin_convertvector(sums, F) + shift) * times; };
    const I low = broadcast_cell(0xffffu);
    store_cells(out + i, join(steps(even & low), steps(odd & low), steps(even >> 16 & low), steps(odd >> 16 & low), zero_point));
  }
}
