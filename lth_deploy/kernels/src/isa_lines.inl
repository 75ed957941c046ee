// Moving lines: packing with halos, pools, resampling, element-wise sums.
// Part of isa_kernels.inl.

// The number of each lane.
inline __attribute__((always_inline)) I lane_numbers() {
  I number{};
#pragma GCC unroll 16
  for (int l = 0; l < kLanes; ++l) number[l] = l;
  return number;
}

// Lane (ly, lx) takes lane (ly + sy, lx + sx), counted modulo all lanes; those from outside are masked out later.
inline __attribute__((always_inline)) I lane_indexes(int sy, int sx) {
  return lane_numbers() + broadcast_cell(static_cast<uint32_t>(sy * kGridX + sx));
}

// Each lane holds what belongs to its row of the grid, or to its column.
inline __attribute__((always_inline)) I of_rows(const int32_t (&values)[4]) {
  Q rows[kGridY];
#pragma GCC unroll 4
  for (int y = 0; y < kGridY; ++y) rows[y] = reinterpret_cast<Q>(CellsOfRow{} + values[y]);
  return of_grid_rows(rows);
}

inline __attribute__((always_inline)) I of_columns(const int32_t (&values)[4]) {
  Q rows[kGridY];
#pragma GCC unroll 4
  for (int y = 0; y < kGridY; ++y) __builtin_memcpy(&rows[y], values, sizeof rows[y]);
  return of_grid_rows(rows);
}

inline __attribute__((always_inline)) I inside_mask(const Axis& row, const Axis& column) {
  return of_rows(row.inside) & of_columns(column.inside);
}

inline __attribute__((always_inline)) I cell_indexes(const Axis& row, const Axis& column) {
  return of_rows(row.offset) + of_columns(column.offset);
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

// The line (r, c) of one channel, where it is not worth preparing for others.
inline __attribute__((always_inline)) I read_line(const LineMap& map, int r, int c, const uint32_t* channel, I fill) {
  const Axis &row = map.rows[r], &column = map.columns[c];
  if (map.aligned && row.plain && column.plain) {
    return load_cells(channel + static_cast<size_t>(row.source * map.source_w + column.source) * kLanes);
  }
  return fetch(prepare(map, r, c), map.aligned, channel, fill);
}

// Positions [first, first + n) of an axis that read neighbouring lines of their own lanes.
struct PlainSpan {
  int first = 0, n = 0;
  bool holds(int i) const { return i >= first && i < first + n; }
};

inline PlainSpan plain_span(const Axis* axis, int count) {
  PlainSpan span;
  while (span.first < count && !axis[span.first].plain) ++span.first;
  for (int i = span.first; i < count && axis[i].plain; ++i, ++span.n) {
    if (i > span.first && axis[i].source != axis[i - 1].source + 1) break;
  }
  return span;
}

// The lines of a tile that are copied as they are, channel by channel. The next channel is asked for meanwhile, since no
// hardware foresees where it lies.
inline void pack_inside(const PackTile& a, const PlainSpan& rows, const PlainSpan& columns) {
  const int first = a.map.rows[a.row0 + rows.first].source * a.map.source_w + a.map.columns[a.col0 + columns.first].source;
  for (int k = 0; k < a.n_channels; ++k) {
    const I* from = reinterpret_cast<const I*>(a.source + a.channels[k] * a.channel_cells) + first;
    const int next = a.channels[k + 1 < a.n_channels ? k + 1 : k];
    const I* soon = reinterpret_cast<const I*>(a.source + next * a.channel_cells) + first;
    I* to = reinterpret_cast<I*>(a.tile) + static_cast<size_t>(k) * a.channel_lines + rows.first * a.pitch + columns.first;
    for (int r = 0; r < rows.n; ++r, from += a.map.source_w, soon += a.map.source_w, to += a.pitch) {
      for (int c = 0; c < columns.n; ++c) __builtin_prefetch(soon + c);
      for (int c = 0; c < columns.n; ++c) to[c] = from[c];
    }
  }
}

inline void ask_at_once(const Ahead& a) {
  for (int k = 0; k < a.n_channels; ++k) {
    const uint32_t* from = a.source + a.channels[k] * a.channel_cells + static_cast<size_t>(a.first) * kLanes;
    for (int r = 0; r < a.n_rows; ++r, from += a.pitch * kLanes) {
      for (int cell = 0; cell < a.length * kLanes; cell += 16) __builtin_prefetch(from + cell, 0, 2);
    }
  }
}

void pack_tile(const PackTile& a) {
  if (!kAskWithSums) ask_at_once(a.next);
  const I fill = static_cast<int32_t>(a.fill) - I{};
  PlainSpan rows, columns;
  if (a.map.aligned) {
    rows = plain_span(a.map.rows + a.row0, a.n_rows);
    columns = plain_span(a.map.columns + a.col0, a.n_cols);
    if (rows.n > 0 && columns.n > 0) pack_inside(a, rows, columns);
  }
  for (int r = 0; r < a.n_rows; ++r) {
    for (int c = 0; c < a.n_cols; ++c) {
      if (rows.holds(r) && columns.holds(c)) continue;
      const Fetch f = prepare(a.map, a.row0 + r, a.col0 + c);
      uint32_t* to = a.tile + static_cast<size_t>(r * a.pitch + c) * kLanes;
      for (int k = 0; k < a.n_channels; ++k, to += a.channel_lines * kLanes) {
        store_cells(to, fetch(f, a.map.aligned, a.source + a.channels[k] * a.channel_cells, fill));
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
    const int next = map.rows[y * sh + (kh - 1) * dh].source + 1;  // what the row behind this one will read first
    for (int x = 0; x < out.w; ++x) {
      for (int r = next; map.aligned && r < next + sh; ++r) {
        const uint32_t* const soon = source + (static_cast<size_t>(r) * map.source_w + x * sw) * kLanes;
        for (int cell = 0; cell < sw * kLanes; cell += 16) __builtin_prefetch(soon + cell);
      }
      const bool plain = plain_rows && window_is_plain(map.columns, x * sw, kw, dw);
      I best = lowest;
      for (int ky = 0; ky < kh; ++ky) {
        for (int kx = 0; kx < kw; ++kx) {
          const int r = y * sh + ky * dh, c = x * sw + kx * dw;
          if (plain) {
            const int line = map.rows[r].source * map.source_w + map.columns[c].source;
            best = larger(best, load_cells(source + static_cast<size_t>(line) * kLanes));
          } else {
            best = larger(best, read_line(map, r, c, source, lowest));
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

void resample(const uint32_t* source, const LineMap& map, const PlaneShape& out, uint32_t* lines) {
  for (int y = 0; y < out.h; ++y) {
    for (int x = 0; x < out.w; ++x, lines += kLanes) store_cells(lines, read_line(map, y, x, source, I{}));
  }
}

void add_lines(const float* x, const float* y, size_t cells, const Finish& finish, float* out) {
  for (size_t i = 0; i < cells; i += kLanes) {
    const F sum = y != nullptr ? load_line(x + i) + load_line(y + i) : load_line(x + i);
    store_line(out + i, activate(sum, finish));
  }
}
