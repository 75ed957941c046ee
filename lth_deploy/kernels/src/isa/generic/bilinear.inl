// Bilinear interpolation. The source is brought back to rows of pixels, where neighbors are neighbors at any size; these
// get the output's width, and become the output's rows where lines are made of them.
// Requires layout_conversion.inl.

inline float blend(const float* row, const Between& b) {
  return row[b.first] * b.first_weight + row[b.second] * b.second_weight;
}

inline Q four_at(const float* row) { return *reinterpret_cast<const QU*>(row); }

// Columns 2 * k and 2 * k + 1 lie a quarter before and behind column k of the source. Returns how many are done, from 2 on.
inline int double_columns(const float* row, int width, float* to) {
  typedef int32_t M __attribute__((vector_size(16)));
  const Q near = Q{} + .75f, far = Q{} + .25f;
  int k = 1;
  for (; k + 5 <= width; k += 4) {
    const Q here = four_at(row + k) * near;
    const Q even = here + four_at(row + k - 1) * far, odd = here + four_at(row + k + 1) * far;
    *reinterpret_cast<QU*>(to + 2 * k) = __builtin_shuffle(even, odd, M{0, 4, 1, 5});
    *reinterpret_cast<QU*>(to + 2 * k + 4) = __builtin_shuffle(even, odd, M{2, 6, 3, 7});
  }
  return 2 * k;
}

// Column k lies between columns 2 * k and 2 * k + 1 of the source. Returns how many are done.
inline int halve_columns(const float* row, int out_width, float* to) {
  typedef int32_t M __attribute__((vector_size(16)));
  const Q half = Q{} + .5f;
  int k = 0;
  for (; k + 4 <= out_width; k += 4) {
    const Q a = four_at(row + 2 * k), b = four_at(row + 2 * k + 4);
    *reinterpret_cast<QU*>(to + k) =
        __builtin_shuffle(a, b, M{0, 2, 4, 6}) * half + __builtin_shuffle(a, b, M{1, 3, 5, 7}) * half;
  }
  return k;
}

// A row of the source in the output's width.
inline void widen(const float* row, int width, const LinearMap& map, int out_width, float* to) {
  int done = 0;
  if (map.step == Step::kDoubled) {
    for (int x = 0; x < 2; ++x) to[x] = blend(row, map.columns[x]);
    done = double_columns(row, width, to);
  } else if (map.step == Step::kHalved) {
    done = halve_columns(row, out_width, to);
  }
  for (int x = done; x < out_width; ++x) to[x] = blend(row, map.columns[x]);
}

struct BlendedRow {
  const float* first;
  const float* second;
  float first_weight, second_weight;
  Q four(int column) const {
    return four_at(first + column) * (Q{} + first_weight) + four_at(second + column) * (Q{} + second_weight);
  }
  float one(int column) const { return first[column] * first_weight + second[column] * second_weight; }
};

void interpolate(const float* source, const PlaneShape& in, const LinearMap& map, const PlaneShape& out, float* scratch,
                 float* lines) {
  store_plane(source, in, scratch);
  float* const wide = scratch + static_cast<size_t>(in.H) * in.W;
  // Of each row of the grid the latest even and the latest odd row of the source: neighbors never meet in one place.
  int32_t held[2 * kGridY];
  for (int32_t& row : held) row = -1;
  const auto row_of = [&](int lane_row, int32_t row) {
    const int place = 2 * lane_row + (row & 1);
    float* const to = wide + static_cast<size_t>(place) * out.W;
    if (held[place] != row) widen(scratch + static_cast<size_t>(row) * in.W, in.W, map, out.W, to);
    held[place] = row;
    return to;
  };
  const auto blended = [&](int row) {
    const Between& b = map.rows[row];
    return BlendedRow{row_of(row / out.h, b.first), row_of(row / out.h, b.second), b.first_weight, b.second_weight};
  };
  for (int y = 0; y < out.h; ++y) {
    lay_row(blended, out, y, 0, out.w, lines + static_cast<size_t>(y) * out.w * kLanes);
  }
}
