// Moving lines: packing with halos, NCHW to lanes and back, pools, resampling, element-wise sums.
// Part of isa_kernels.inl.

// Lane (ly, lx) takes lane (ly + sy, lx + sx); lanes that would come from outside take any.
inline I lane_indexes(int sy, int sx) {
  I index{};
  for (int l = 0; l < kLanes; ++l) {
    const int y = l / kGridX + sy, x = l % kGridX + sx;
    index[l] = (y >= 0 && y < kGridY && x >= 0 && x < kGridX) ? y * kGridX + x : l;
  }
  return index;
}

inline I inside_mask(const Axis& row, const Axis& column) {
  I mask{};
  for (int l = 0; l < kLanes; ++l) mask[l] = row.inside[l / kGridX] & column.inside[l % kGridX];
  return mask;
}

inline I cell_indexes(const Axis& row, const Axis& column) {
  I index{};
  for (int l = 0; l < kLanes; ++l) index[l] = row.offset[l / kGridX] + column.offset[l % kGridX];
  return index;
}

// What the footprint's line (row, column) reads, prepared once for all channels.
struct Fetch {
  const Axis* row;
  const Axis* column;
  int32_t line;  // of the source
  bool plain;
  I index, mask;  // index: the lane that each lane takes, or where lanes do not agree, the cell of the channel
};

inline Fetch prepare(const LineMap& map, int r, int c) {
  Fetch f{};
  f.row = map.rows + r;
  f.column = map.columns + c;
  f.line = f.row->source * map.source_w + f.column->source;
  f.plain = map.aligned && f.row->plain && f.column->plain;
  if (!f.plain) {
    f.mask = inside_mask(*f.row, *f.column);
    f.index = map.aligned ? lane_indexes(f.row->shift, f.column->shift) : cell_indexes(*f.row, *f.column);
  }
  return f;
}

inline I fetch(const Fetch& f, bool aligned, const uint32_t* channel, I fill) {
  if (f.plain) return *reinterpret_cast<const I*>(channel + static_cast<size_t>(f.line) * kLanes);
  I v;
  if (aligned) {
    v = __builtin_shuffle(*reinterpret_cast<const I*>(channel + static_cast<size_t>(f.line) * kLanes), f.index);
  } else {
    // Cells outside have the offset 0: they are read, and masked out below.
    alignas(kLine) int32_t cells[kLanes];
    for (int l = 0; l < kLanes; ++l) cells[l] = static_cast<int32_t>(channel[f.index[l]]);
    v = *reinterpret_cast<const I*>(cells);
  }
  return (v & f.mask) | (fill & ~f.mask);
}

void pack_tile(const PackTile& a) {
  const I fill = static_cast<int32_t>(a.fill) - I{};
  for (int r = 0; r < a.n_rows; ++r) {
    for (int c = 0; c < a.n_cols; ++c) {
      const Fetch f = prepare(a.map, a.row0 + r, a.col0 + c);
      uint32_t* to = a.tile + static_cast<size_t>(r * a.pitch + c) * kLanes;
      if (f.plain) {
        const uint32_t* const from = a.source + static_cast<size_t>(f.line) * kLanes;
        for (int k = 0; k < a.n_channels; ++k, to += a.channel_lines * kLanes) {
          *reinterpret_cast<I*>(to) = *reinterpret_cast<const I*>(from + a.channels[k] * a.channel_cells);
        }
        for (int k = 0; k < a.n_next; ++k) __builtin_prefetch(from + a.next_channels[k] * a.channel_cells, 0, 2);
      } else {
        for (int k = 0; k < a.n_channels; ++k, to += a.channel_lines * kLanes) {
          *reinterpret_cast<I*>(to) = fetch(f, a.map.aligned, a.source + a.channels[k] * a.channel_cells, fill);
        }
      }
    }
  }
}

void pack_run(const PackRun& a) {
  const I fill = static_cast<int32_t>(a.fill) - I{};
  if (a.contiguous) {
    for (int u = 0; u < a.n_units; ++u) {
      const I* const from =
          reinterpret_cast<const I*>(a.source + a.units[u].channel * a.channel_cells) + a.first;
      I* const to = reinterpret_cast<I*>(a.tile) + static_cast<size_t>(u) * a.run_lines;
      for (int j = 0; j < a.count; ++j) to[j] = from[j];
    }
    return;
  }
  for (int j = 0; j < a.count; ++j) {
    const int y = (a.first + j) / a.out_w, x = (a.first + j) % a.out_w;
    Fetch f{};
    int ky = -1, kx = -1;
    for (int u = 0; u < a.n_units; ++u) {
      const Unit unit = a.units[u];
      if (unit.ky != ky || unit.kx != kx) {
        ky = unit.ky, kx = unit.kx;
        f = prepare(a.map, y * a.sh + ky, x * a.sw + kx);
      }
      reinterpret_cast<I*>(a.tile)[static_cast<size_t>(u) * a.run_lines + j] =
          fetch(f, a.map.aligned, a.source + unit.channel * a.channel_cells, fill);
    }
  }
}

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
inline bool whole_quad(const PlaneShape& s, int x) { return x + 4 <= s.w && 3 * s.w + x + 4 <= s.W; }

// Rows of the lane grid that have row y of their sub-image.
inline int rows_with(const PlaneShape& s, int y) { return y < s.H ? (s.H - 1 - y) / s.h + 1 : 0; }

// Lines [first, end) of row y; rows(r) gives one column, or four, of row r of the plane. What lies outside of the picture
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

// From the plane of one channel.
void load_row(const float* nchw, const PlaneShape& s, int y, int first, int end, float* lines) {
  lay_row([&](int row) { return PlainRow{nchw + static_cast<size_t>(row) * s.W}; }, s, y, first, end, lines);
}

void load_plane(const float* nchw, const PlaneShape& s, float* lines) {
  for (int y = 0; y < s.h; ++y) load_row(nchw, s, y, 0, s.w, lines + static_cast<size_t>(y) * s.w * kLanes);
}

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

void store_row(const float* lines, const PlaneShape& s, int y, float* nchw) {
  const int there = rows_with(s, y);
  float* const row0 = nchw + static_cast<size_t>(y) * s.W;
  const size_t step = static_cast<size_t>(s.h) * s.W;
  if (s.w < 4) {
    for (int x = 0; x < s.w; ++x) {
      for (int l = 0; l < there * kGridX; ++l) {
        const int column = l % kGridX * s.w + x;
        if (column < s.W) row0[l / kGridX * step + column] = lines[x * kLanes + l];
      }
    }
    return;
  }
  for (int x = 0; x < s.w; x += 4) {
    const int at = x + 4 <= s.w ? x : s.w - 4;
    I v[4];
    for (int i = 0; i < 4; ++i) v[i] = load_cells(lines + (at + i) * kLanes);
    transpose_cells(v);
    for (int lx = 0; lx < kGridX; ++lx) {
      const int column = lx * s.w + at;
      store_grid_rows(v[lx], there, step, s.W - column, row0 + column);
    }
  }
}

void store_plane(const float* lines, const PlaneShape& s, float* nchw) {
  for (int y = 0; y < s.h; ++y) store_row(lines + static_cast<size_t>(y) * s.w * kLanes, s, y, nchw);
}

// Rows lie on a plane of kGridY x W pixels, row by row; h = 1.
inline int row_at(const PlaneShape& s, int lane, int x) { return (lane / kGridX) * s.W + (lane % kGridX) * s.w + x; }

inline bool row_exists(const PlaneShape& s, int lane, int x, int n) {
  return (lane % kGridX) * s.w + x < s.W && row_at(s, lane, x) < n;
}

// Four rows by four channels at a time: a row is read where it lies, not one channel of all rows after the other.
// Usually the channels behind these are next, and hundreds of rows are too many streams for the processor to foresee.
void load_rows(const float* rows, int n, int channels, int first, int count, const PlaneShape& s, int line,
               int n_lines, size_t channel_cells, float* lines) {
  for (int x = line; x < line + n_lines; ++x) {
    for (int l = 0; l < kLanes; l += kGridX) {
      float* const to = lines + (x - line) * kLanes + l;
      for (int c = 0; c < count; c += 4) {
        Q q[4];
        for (int i = 0; i < 4; ++i) {
          q[i] = Q{};
          if (!row_exists(s, l + i, x, n)) continue;
          const float* const from = rows + static_cast<size_t>(row_at(s, l + i, x)) * channels + first + c;
          if (c % 16 == 0 && first + count + c < channels) __builtin_prefetch(from + count, 0, 2);
          if (c + 4 <= count) {
            q[i] = *reinterpret_cast<const QU*>(from);
            continue;
          }
          for (int k = 0; k < 4 && c + k < count; ++k) q[i][k] = from[k];
        }
        transpose4(q[0], q[1], q[2], q[3]);
        for (int i = 0; i < 4 && c + i < count; ++i) *reinterpret_cast<Q*>(to + (c + i) * channel_cells) = q[i];
      }
    }
  }
}

void store_rows(const float* lines, int n, int channels, int first, int count, const PlaneShape& s,
                size_t channel_cells, float* rows) {
  for (int x = 0; x < s.w; ++x) {
    for (int l = 0; l < kLanes; l += kGridX) {
      const float* const from = lines + x * kLanes + l;
      for (int c = 0; c < count; c += 4) {
        Q q[4];
        for (int i = 0; i < 4; ++i) q[i] = c + i < count ? *reinterpret_cast<const Q*>(from + (c + i) * channel_cells) : Q{};
        transpose4(q[0], q[1], q[2], q[3]);
        for (int i = 0; i < 4; ++i) {
          if (!row_exists(s, l + i, x, n)) continue;
          float* const to = rows + static_cast<size_t>(row_at(s, l + i, x)) * channels + first + c;
          for (int k = 0; k < 4 && c + k < count; ++k) to[k] = q[i][k];
        }
      }
    }
  }
}

// Whether the windows of an output line read whole lines of their own lanes only, in one direction.
inline bool window_is_plain(const Axis* axis, int first, int taps, int step) {
  for (int k = 0; k < taps; ++k) {
    if (!axis[first + k * step].plain) return false;
  }
  return true;
}

inline __attribute__((always_inline)) I larger_floats(I x, I y) {
  return reinterpret_cast<I>(larger(reinterpret_cast<F>(x), reinterpret_cast<F>(y)));
}

// `larger` of every window; `lowest` is what loses against all.
template <class Larger>
inline __attribute__((always_inline)) void pool(const uint32_t* source, const LineMap& map, const PlaneShape& out, int kh,
                                                int kw, int sh, int sw, int dh, int dw, I lowest, Larger larger,
                                                uint32_t* lines) {
  for (int y = 0; y < out.h; ++y) {
    const bool plain_rows = map.aligned && window_is_plain(map.rows, y * sh, kh, dh);
    for (int x = 0; x < out.w; ++x) {
      const bool plain = plain_rows && window_is_plain(map.columns, x * sw, kw, dw);
      I best = lowest;
      for (int ky = 0; ky < kh; ++ky) {
        for (int kx = 0; kx < kw; ++kx) {
          const int r = y * sh + ky * dh, c = x * sw + kx * dw;
          if (plain) {
            const int line = map.rows[r].source * map.source_w + map.columns[c].source;
            best = larger(best, load_cells(source + static_cast<size_t>(line) * kLanes));
          } else {
            best = larger(best, fetch(prepare(map, r, c), map.aligned, source, lowest));
          }
        }
      }
      store_cells(lines + (static_cast<size_t>(y) * out.w + x) * kLanes, best);
    }
  }
}

void max_pool(const float* source, const LineMap& map, const PlaneShape& out, int kh, int kw, int sh, int sw, int dh,
              int dw, float* lines) {
  pool(reinterpret_cast<const uint32_t*>(source), map, out, kh, kw, sh, sw, dh, dw,
       reinterpret_cast<I>(broadcast(-__builtin_inff())), larger_floats, reinterpret_cast<uint32_t*>(lines));
}

void resample(const uint32_t* source, const LineMap& map, const PlaneShape& out, bool merge, uint32_t* lines) {
  for (int y = 0; y < out.h; ++y) {
    for (int x = 0; x < out.w; ++x) {
      const Fetch f = prepare(map, y, x);
      I* const to = reinterpret_cast<I*>(lines + (static_cast<size_t>(y) * out.w + x) * kLanes);
      const I v = fetch(f, map.aligned, source, I{});
      *to = merge ? *to | v : v;
    }
  }
}

void add_lines(const float* x, const float* y, size_t cells, const Finish& finish, float* out) {
  for (size_t i = 0; i < cells; i += kLanes) {
    const F sum = y != nullptr ? load_line(x + i) + load_line(y + i) : load_line(x + i);
    store_line(out + i, activate(sum, finish));
  }
}
