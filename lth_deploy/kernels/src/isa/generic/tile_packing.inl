// Moving lines: packing with halos, resampling.
// Requires conv_rows.inl, activations.inl, window_reads.inl.

// The lines of a tile that are copied as they are, channel by channel. The next channel is prefetched meanwhile: the
// hardware prefetcher cannot know where it lies.
inline void pack_inside(const PackTile& a, const PlainSpan& rows, const PlainSpan& columns) {
  const int first = a.map.rows[a.row0 + rows.first].source * a.map.source_w + a.map.columns[a.col0 + columns.first].source;
  for (int k = 0; k < a.n_channels; ++k) {
    const I* from = reinterpret_cast<const I*>(a.source + a.channels[k] * a.channel_cells) + first;
    const int next = a.channels[k + 1 < a.n_channels ? k + 1 : k];
    const I* next_from = reinterpret_cast<const I*>(a.source + next * a.channel_cells) + first;
    I* to = reinterpret_cast<I*>(a.tile) + static_cast<size_t>(k) * a.channel_lines + rows.first * a.pitch + columns.first;
    for (int r = 0; r < rows.n; ++r, from += a.map.source_w, next_from += a.map.source_w, to += a.pitch) {
      for (int c = 0; c < columns.n; ++c) __builtin_prefetch(next_from + c);
      for (int c = 0; c < columns.n; ++c) to[c] = from[c];
    }
  }
}

inline void prefetch_at_once(const PrefetchRange& a) {
  for (int k = 0; k < a.n_channels; ++k) {
    const uint32_t* from = a.source + a.channels[k] * a.channel_cells + static_cast<size_t>(a.first) * kLanes;
    for (int r = 0; r < a.n_rows; ++r, from += a.pitch * kLanes) {
      for (int cell = 0; cell < a.length * kLanes; cell += 16) __builtin_prefetch(from + cell, 0, 2);
    }
  }
}

// What lanes take from their neighbors, and what is put in the place of those outside of the image.
struct Borrowed {
  I index, mask, outside;

  Borrowed(const Fetch& f, uint32_t fill) : index(f.index), mask(f.mask), outside(broadcast_cell(fill) & ~f.mask) {}

  inline __attribute__((always_inline)) I line(const void* from) const {
    return (__builtin_shuffle(load_cells(from), index) & mask) | outside;
  }
};

// `count` lines of every channel that all take the same lanes, from (r, c) on; `step` and `pitch` are the lines from one to
// the next in the source and in the tile.
inline void pack_borrowed(const PackTile& a, int r, int c, int count, int step, int pitch) {
  const Fetch f = prepare(a.map, a.row0 + r, a.col0 + c);
  const Borrowed borrowed(f, a.fill);
  uint32_t* to = a.tile + static_cast<size_t>(r * a.pitch + c) * kLanes;
  for (int k = 0; k < a.n_channels; ++k, to += static_cast<size_t>(a.channel_lines) * kLanes) {
    const uint32_t* const from = a.source + a.channels[k] * a.channel_cells + static_cast<size_t>(f.line) * kLanes;
    for (int i = 0; i < count; ++i) {
      store_cells(to + static_cast<size_t>(i) * pitch * kLanes, borrowed.line(from + static_cast<size_t>(i) * step * kLanes));
    }
  }
}

inline void pack_gathered(const PackTile& a) {
  const I fill = broadcast_cell(a.fill);
  for (int r = 0; r < a.n_rows; ++r) {
    for (int c = 0; c < a.n_cols; ++c) {
      const Fetch f = prepare(a.map, a.row0 + r, a.col0 + c);
      uint32_t* to = a.tile + static_cast<size_t>(r * a.pitch + c) * kLanes;
      for (int k = 0; k < a.n_channels; ++k, to += a.channel_lines * kLanes) {
        store_cells(to, fetch(f, false, a.source + a.channels[k] * a.channel_cells, fill));
      }
    }
  }
}

// What every lane takes from one of four lines: those of its row of the grid, or of its column.
struct LanePicks {
  I index, outside;  // outside: what is put in the place of pixels that do not exist
  LaneMask into[4];
  size_t at[4];      // cells

  LanePicks() = default;

  // axis: of rows, for which number and own say the row of each lane and its place in it; or of columns.
  LanePicks(const Axis& axis, I offsets, I inside, I number, I own, uint32_t fill)
      : index(offsets % kLanes + own), outside(broadcast_cell(fill) & ~inside) {
    for (int p = 0; p < 4; ++p) {
      into[p] = lane_mask((number == broadcast_cell(static_cast<uint32_t>(p))) & inside);
      at[p] = static_cast<size_t>(axis.offset[p] / kLanes) * kLanes;
    }
  }

  template <int LINES>
  inline __attribute__((always_inline)) I line(const uint32_t* from) const {
    I made = merged(outside, into[0], index, from + at[0]);
    if (LINES > 1) made = merged(made, into[1], index, from + at[1]);
    if (LINES > 2) made = merged(merged(made, into[2], index, from + at[2]), into[3], index, from + at[3]);
    return made;
  }
};

inline LanePicks picks_of_row(const Axis& row, uint32_t fill) {
  return {row, of_rows(row.offset), of_rows(row.inside), lane_numbers() / kGridX, lane_numbers() % kGridX, fill};
}

inline LanePicks picks_of_column(const Axis& column, uint32_t fill) {
  const I number = lane_numbers() % kGridX;
  return {column, of_columns(column.offset), of_columns(column.inside), number, lane_numbers() - number, fill};
}

inline bool same_source(const Axis& a, const Axis& b) {
  for (int p = 0; p < 4; ++p) {
    if (a.offset[p] != b.offset[p] || a.inside[p] != b.inside[p]) return false;
  }
  return true;
}

// Lines in which every row of the grid has its own row of the source.
inline void lay_grid_rows(const PackTile& a, const Axis& row) {
  const LanePicks picks = picks_of_row(row, a.fill);
  const int cells = a.map.source_w * kLanes;
  for (int k = 0; k < a.n_channels; ++k) {
    const uint32_t* const from = a.source + a.channels[k] * a.channel_cells;
    uint32_t* const to = a.rows + static_cast<size_t>(k) * cells;
    for (int x = 0; x < cells; x += kLanes) store_cells(to + x, picks.line<kGridY>(from + x));
  }
}

// Where lanes do not agree, in two steps: the lines of lay_grid_rows, and from these the lines in which every column of the
// grid has its own column. What a column takes is worked out once for all rows.
inline void pack_unaligned(const PackTile& a) {
  constexpr int kColumns = 32;  // at a time
  LanePicks picks[kColumns];
  for (int first = 0; first < a.n_cols; first += kColumns) {
    const int n = a.n_cols - first < kColumns ? a.n_cols - first : kColumns;
    for (int c = 0; c < n; ++c) picks[c] = picks_of_column(a.map.columns[a.col0 + first + c], a.fill);
    for (int r = 0; r < a.n_rows; ++r) {
      const Axis* const row = a.map.rows + a.row0 + r;
      if (r == 0 || !same_source(row[-1], row[0])) lay_grid_rows(a, *row);
      for (int k = 0; k < a.n_channels; ++k) {
        const uint32_t* const from = a.rows + static_cast<size_t>(k) * a.map.source_w * kLanes;
        uint32_t* const to = a.tile + (static_cast<size_t>(k) * a.channel_lines + static_cast<size_t>(r) * a.pitch + first) * kLanes;
        for (int c = 0; c < n; ++c) store_cells(to + c * kLanes, picks[c].line<4>(from));
      }
    }
  }
}

void pack_tile(const PackTile& a) {
  if (!kPrefetchDuringMacs) prefetch_at_once(a.next);
  if (!a.map.aligned) return a.rows != nullptr ? pack_unaligned(a) : pack_gathered(a);
  const PlainSpan rows = plain_span(a.map.rows + a.row0, a.n_rows);
  const PlainSpan columns = plain_span(a.map.columns + a.col0, a.n_cols);
  if (rows.n > 0 && columns.n > 0) pack_inside(a, rows, columns);
  for (int r = 0; r < a.n_rows; ++r) {
    const bool plain = rows.holds(r);
    if (!plain && columns.n > 0) pack_borrowed(a, r, columns.first, columns.n, 1, 1);
    if (plain && r != rows.first) continue;
    for (int c = 0; c < a.n_cols; ++c) {
      if (!columns.holds(c)) pack_borrowed(a, r, c, plain ? rows.n : 1, a.map.source_w, a.pitch);
    }
  }
}

void pack_run(const PackRun& a) {
  const I fill = static_cast<int32_t>(a.fill) - I{};
  if (a.contiguous) {
    for (int t = 0; t < a.n_taps; ++t) {
      const I* const from =
          reinterpret_cast<const I*>(a.source + a.taps[t].channel * a.channel_cells) + a.first;
      I* const to = reinterpret_cast<I*>(a.tile) + static_cast<size_t>(t) * a.run_lines;
      for (int j = 0; j < a.count; ++j) to[j] = from[j];
    }
    return;
  }
  for (int j = 0; j < a.count; ++j) {
    const int y = (a.first + j) / a.out_w, x = (a.first + j) % a.out_w;
    Fetch f{};
    int ky = -1, kx = -1;
    for (int t = 0; t < a.n_taps; ++t) {
      const ChannelTap tap = a.taps[t];
      if (tap.ky != ky || tap.kx != kx) {
        ky = tap.ky, kx = tap.kx;
        f = prepare(a.map, y * a.sh + ky, x * a.sw + kx);
      }
      reinterpret_cast<I*>(a.tile)[static_cast<size_t>(t) * a.run_lines + j] =
          fetch(f, a.map.aligned, a.source + tap.channel * a.channel_cells, fill);
    }
  }
}

void resample(const uint32_t* source, const LineMap& map, const PlaneShape& out, uint32_t fill, uint32_t* lines) {
  const I around = broadcast_cell(fill);
  for (int y = 0; y < out.h; ++y) {
    for (int x = 0; x < out.w; ++x, lines += kLanes) store_cells(lines, read_line(map, y, x, source, around));
  }
}
