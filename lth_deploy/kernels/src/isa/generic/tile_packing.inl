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

// Where lanes do not agree, in two steps: lines in which every row of the grid has its own row of the source, and from
// these the lines in which every column of the grid has its own column.
inline void lay_grid_rows(const PackTile& a, const Axis& row) {
  int32_t lane[4];
  const uint32_t* at[4];
  for (int p = 0; p < 4; ++p) {
    lane[p] = row.offset[p] % kLanes;
    at[p] = a.source + row.offset[p] / kLanes * kLanes;
  }
  const I index = of_rows(lane) + lane_numbers() % kGridX, number = lane_numbers() / kGridX, inside = of_rows(row.inside);
  const LanePick first(index, (number == I{}) & inside), second(index, (number == I{} + 1) & inside);
  const LanePick third(index, (number == I{} + 2) & inside), fourth(index, (number == I{} + 3) & inside);
  const int cells = a.map.source_w * kLanes;
  for (int k = 0; k < a.n_channels; ++k) {
    const size_t channel = a.channels[k] * a.channel_cells;
    uint32_t* const to = a.rows + static_cast<size_t>(k) * cells;
    for (int x = 0; x < cells; x += kLanes) {
      I line = first.merged(I{}, at[0] + channel + x);
      if (kGridY > 1) line = second.merged(line, at[1] + channel + x);
      if (kGridY > 2) line = fourth.merged(third.merged(line, at[2] + channel + x), at[3] + channel + x);
      store_cells(to + x, line);
    }
  }
}

inline void pack_columns(const PackTile& a, int r, int c) {
  const Axis &row = a.map.rows[a.row0 + r], &column = a.map.columns[a.col0 + c];
  int32_t lane[4];
  for (int p = 0; p < 4; ++p) lane[p] = column.offset[p] % kLanes;
  const I index = of_columns(lane) + lane_numbers() / kGridX * kGridX, inside = inside_mask(row, column);
  const I outside = broadcast_cell(a.fill) & ~inside;
  const I number = lane_numbers() % kGridX;
  const LanePick first(index, (number == I{}) & inside), second(index, (number == I{} + 1) & inside);
  const LanePick third(index, (number == I{} + 2) & inside), fourth(index, (number == I{} + 3) & inside);
  size_t at[4];
  for (int p = 0; p < 4; ++p) at[p] = static_cast<size_t>(column.offset[p] / kLanes) * kLanes;
  uint32_t* to = a.tile + static_cast<size_t>(r * a.pitch + c) * kLanes;
  for (int k = 0; k < a.n_channels; ++k, to += static_cast<size_t>(a.channel_lines) * kLanes) {
    const uint32_t* const from = a.rows + static_cast<size_t>(k) * a.map.source_w * kLanes;
    const I left = second.merged(first.merged(outside, from + at[0]), from + at[1]);
    store_cells(to, fourth.merged(third.merged(left, from + at[2]), from + at[3]));
  }
}

inline void pack_unaligned(const PackTile& a) {
  for (int r = 0; r < a.n_rows; ++r) {
    lay_grid_rows(a, a.map.rows[a.row0 + r]);
    for (int c = 0; c < a.n_cols; ++c) pack_columns(a, r, c);
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

void resample(const uint32_t* source, const LineMap& map, const PlaneShape& out, uint32_t* lines) {
  for (int y = 0; y < out.h; ++y) {
    for (int x = 0; x < out.w; ++x, lines += kLanes) store_cells(lines, read_line(map, y, x, source, I{}));
  }
}
