// From pixels to lanes and back: planes of one channel, and rows of features, 4 x 4 transposes at a time.
// Requires vectors.inl, planes/pixel_rows.inl.

inline void transpose4(Q& a, Q& b, Q& c, Q& d) {
  typedef int32_t M __attribute__((vector_size(16)));
  const Q ab = __builtin_shuffle(a, b, M{0, 4, 1, 5}), ab2 = __builtin_shuffle(a, b, M{2, 6, 3, 7});
  const Q cd = __builtin_shuffle(c, d, M{0, 4, 1, 5}), cd2 = __builtin_shuffle(c, d, M{2, 6, 3, 7});
  a = __builtin_shuffle(ab, cd, M{0, 1, 4, 5});
  b = __builtin_shuffle(ab, cd, M{2, 3, 6, 7});
  c = __builtin_shuffle(ab2, cd2, M{0, 1, 4, 5});
  d = __builtin_shuffle(ab2, cd2, M{2, 3, 6, 7});
}

// Columns x .. x + 3 of all four lanes exist.
inline bool four_columns(const PlaneShape& s, int x) { return x + 4 <= s.w && 3 * s.w + x + 4 <= s.W; }

// Lines [first, end) of row y; rows(r) gives one column, or four, of row r of the plane. What lies outside of the image
// gets anything.
template <class Rows>
inline __attribute__((always_inline)) void lay_row(const Rows& rows, const PlaneShape& s, int y, int first, int end,
                                                   float* lines) {
  float* const line0 = lines - static_cast<ptrdiff_t>(first) * kLanes;
  const int there = rows_with(s, y);
  decltype(rows(0)) row[kGridY];
  row[0] = rows(there > 0 ? y : 0);
  for (int ly = 1; ly < kGridY; ++ly) row[ly] = ly < there ? rows(ly * s.h + y) : row[0];
  if (end - first < 4) {
    for (int x = first; x < end; ++x) {
      for (int l = 0; l < kLanes; ++l) {
        const int column = l % kGridX * s.w + x;
        line0[x * kLanes + l] = column < s.W ? row[l / kGridX].one(column) : 0.f;
      }
    }
    return;
  }
  for (int x = first; x < end; x += 4) {
    const int at = x + 4 <= end ? x : end - 4;
    I v[4];
    for (int lx = 0; lx < kGridX; ++lx) {
      const int column = lx * s.w + at;
      Q q[kGridY]{};
      if (column + 4 <= s.W) {
#pragma GCC unroll 4
        for (int ly = 0; ly < kGridY; ++ly) q[ly] = row[ly].four(column);
      } else {
        for (int ly = 0; ly < kGridY; ++ly) {
          for (int i = 0; column + i < s.W; ++i) q[ly][i] = row[ly].one(column + i);
        }
      }
      v[lx] = of_grid_rows(q);
    }
    transpose_cells(v);
    for (int i = 0; i < 4; ++i) store_cells(line0 + (at + i) * kLanes, v[i]);
  }
}

struct PlainRow {
  const float* row;
  Q four(int column) const { return *reinterpret_cast<const QU*>(row + column); }
  float one(int column) const { return row[column]; }
};

// Every second pixel, none behind the last.
struct SecondPixels {
  const float* row;
  Q four(int column) const {
    typedef int32_t M __attribute__((vector_size(16)));
    const float* const from = row + 2 * static_cast<size_t>(column);
    return __builtin_shuffle(Q(*reinterpret_cast<const QU*>(from)), Q(*reinterpret_cast<const QU*>(from + 3)), M{0, 2, 5, 7});
  }
  float one(int column) const { return row[2 * static_cast<size_t>(column)]; }
};

struct FarPixels {
  const float* row;
  size_t step;
  Q four(int column) const { return Q{one(column), one(column + 1), one(column + 2), one(column + 3)}; }
  float one(int column) const { return row[step * static_cast<size_t>(column)]; }
};

void load_row(const Pixels& p, const PlaneShape& s, int y, int first, int end, float* lines) {
  const auto row_at = [&](int row) { return p.first + static_cast<size_t>(row) * p.row; };
  if (p.column == 1) {
    lay_row([&](int row) { return PlainRow{row_at(row)}; }, s, y, first, end, lines);
  } else if (p.column == 2) {
    lay_row([&](int row) { return SecondPixels{row_at(row)}; }, s, y, first, end, lines);
  } else {
    lay_row([&](int row) { return FarPixels{row_at(row), p.column}; }, s, y, first, end, lines);
  }
}

void load_plane(const Pixels& p, const PlaneShape& s, float* lines) {
  for (int y = 0; y < s.h; ++y) load_row(p, s, y, 0, s.w, lines + static_cast<size_t>(y) * s.w * kLanes);
}

void store_plane(const float* lines, const PlaneShape& s, float* nchw) {
  for (int y = 0; y < s.h; ++y) {
    if (y + 1 < s.h) prefetch_row(s, y + 1, 0, s.w, nchw);
    store_row(lines + static_cast<size_t>(y) * s.w * kLanes, s, y, 0, s.w, nchw);
  }
}

// Rows lie on a plane of kGridY x W pixels, row by row; h = 1.
inline int row_at(const PlaneShape& s, int lane, int x) { return (lane / kGridX) * s.W + (lane % kGridX) * s.w + x; }

inline bool row_exists(const PlaneShape& s, int lane, int x, int n) {
  return (lane % kGridX) * s.w + x < s.W && row_at(s, lane, x) < n;
}

// Where the first of some channels is in the rows of the lanes of line x; null where there is no row. Whether all exist.
template <class T>
inline __attribute__((always_inline)) bool rows_of_line(T* rows, int n, int channels, int first, const PlaneShape& s, int x,
                                                        T* (&at)[kLanes]) {
  bool all = true;
  for (int l = 0; l < kLanes; ++l) {
    const bool exists = row_exists(s, l, x, n);
    at[l] = exists ? rows + static_cast<size_t>(row_at(s, l, x)) * channels + first : nullptr;
    all = all && exists;
  }
  return all;
}

// Channels c .. c + 3 of a row, of which `count` are read; zeros elsewhere, and of a row that does not exist.
inline Q some_channels(const float* row, int c, int count) {
  Q q{};
  for (int k = 0; row != nullptr && k < 4 && c + k < count; ++k) q[k] = row[c + k];
  return q;
}

// Four channels of each row of a line at a time, which become a whole line each: a row is read where it lies, not one
// channel of all rows after the other. Usually the channels behind these are next, and hundreds of rows are too many
// streams for the processor to foresee.
void load_rows(const float* rows, int n, int channels, int first, int count, const PlaneShape& s, int line,
               int n_lines, size_t channel_cells, float* lines) {
  for (int x = line; x < line + n_lines; ++x) {
    const float* at[kLanes];
    const bool all = rows_of_line(rows, n, channels, first, s, x, at);
    float* to = lines + static_cast<size_t>(x - line) * kLanes;
    for (int c = 0; c < count; c += 4) {
      if (c % 16 == 0 && first + count + c < channels) {
        for (const float* row : at) {
          if (row != nullptr) __builtin_prefetch(row + c + count, 0, 2);
        }
      }
      I v[4];
      for (int i = 0; i < 4; ++i) {
        Q q[kGridY];
        for (int g = 0; g < kGridY; ++g) {
          const float* const row = at[4 * g + i];
          q[g] = all && c + 4 <= count ? Q(*reinterpret_cast<const QU*>(row + c)) : some_channels(row, c, count);
        }
        v[i] = of_grid_rows(q);
      }
      transpose_cells(v);
      for (int i = 0; i < 4 && c + i < count; ++i, to += channel_cells) store_cells(to, v[i]);
    }
  }
}

// `count` channels, four at most, of one row of each four lanes.
template <int K = 0>
inline __attribute__((always_inline)) void store_channels(I v, float* const* at, int c, int count) {
  float* const row = at[4 * K];
  if (row != nullptr) {
    const Q q = grid_row<K>(v);
    if (count >= 4) {
      *reinterpret_cast<QU*>(row + c) = q;
    } else {
      for (int k = 0; k < count; ++k) row[c + k] = q[k];
    }
  }
  if constexpr (K + 1 < kGridY) store_channels<K + 1>(v, at, c, count);
}

void store_rows(const float* lines, int n, int channels, int first, int count, const PlaneShape& s,
                size_t channel_cells, float* rows) {
  for (int x = 0; x < s.w; ++x) {
    float* at[kLanes];
    rows_of_line(rows, n, channels, first, s, x, at);
    // The row two behind is written two lines later. Where none is, nothing is lost.
    for (float* row : at) {
      if (row != nullptr) __builtin_prefetch(row + 2 * static_cast<size_t>(channels), 1, 3);
    }
    const float* from = lines + static_cast<size_t>(x) * kLanes;
    for (int c = 0; c < count; c += 4) {
      I v[4] = {};
      for (int i = 0; i < 4 && c + i < count; ++i, from += channel_cells) v[i] = load_cells(from);
      transpose_cells(v);
      for (int i = 0; i < 4; ++i) store_channels(v[i], at + i, c, count - c);
    }
  }
}
