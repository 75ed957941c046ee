// What a line of a window reads: a line of its own lanes, of neighboring ones, or cells gathered one by one.
// Requires vectors.inl.

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

// Positions [first, first + n) of an axis that read neighboring lines of their own lanes.
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

// Some lanes, and how they are taken of a line into another, which has zeros there.
#if LTH_LANES == 16 && defined(__AVX512BW__)
typedef __mmask16 LaneMask;
inline __attribute__((always_inline)) LaneMask lane_mask(I lanes) { return _mm512_movepi32_mask((__m512i)lanes); }
inline __attribute__((always_inline)) I merged(I line, LaneMask into, I index, const void* from) {
  return (I)_mm512_mask_permutexvar_epi32((__m512i)line, into, (__m512i)index, (__m512i)load_cells(from));
}
#else
typedef I LaneMask;
inline __attribute__((always_inline)) LaneMask lane_mask(I lanes) { return lanes; }
inline __attribute__((always_inline)) I merged(I line, LaneMask into, I index, const void* from) {
  return line | (__builtin_shuffle(load_cells(from), index) & into);
}
#endif
