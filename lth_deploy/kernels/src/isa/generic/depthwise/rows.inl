// Depthwise convolutions of float32 with stride 1 whose lanes agree, two rows at a time: each row of the source is copied once
// into a ring of rows, with what lies around it, and stays in the L1 cache until the last row of the output that reads it is
// done. Taps are added in the order of floats.inl, so that the bits are the same.
// Requires activations.inl, conv_rows.inl, window_reads.inl; the macro LTH_MAX_ACC.

constexpr int kRowTaps = 3;  // columns of a window

// Columns of the output that are computed together, two rows of them: these, and what one row of the source gives them, are
// in registers.
constexpr int kRowColumns = LTH_MAX_ACC < 16 ? 4 : 8;

// What a row of the source gives to TH rows of the output: to the first one with the weights of tap row `upper`, to the
// second one with those of `lower`. Null for none.
template <int TH, int TW>
inline __attribute__((always_inline)) void add_taps(F (&acc)[TH * TW], const char* from, const uint32_t* upper,
                                                    const uint32_t* lower) {
  F line[TW + kRowTaps - 1];
#pragma GCC unroll 32
  for (int i = 0; i < TW + kRowTaps - 1; ++i) {
    line[i] = load_line(from + i * kLine);
    LTH_LOADED_ONCE(line[i]);
  }
  const uint32_t* const weights[2] = {upper, lower};
#pragma GCC unroll 2
  for (int y = 0; y < TH; ++y) {
    if (weights[y] == nullptr) continue;
#pragma GCC unroll 8
    for (int kx = 0; kx < kRowTaps; ++kx) {
      const F w = Float32::spread(weights[y] + kx);
#pragma GCC unroll 32
      for (int j = 0; j < TW; ++j) acc[y * TW + j] += w * line[j + kx];
    }
  }
}

// How the output of a DepthwiseRows lies, for write_out.
struct RowsOut {
  Finish finish;
  int out_pitch;
};

// TH rows of TW lines from column x on. rows: those that the windows of the first row read, and TH - 1 more.
template <int TH, int TW>
inline __attribute__((always_inline)) void depthwise_rows_block(const char* const* rows, int kh, int x, const uint32_t* weight,
                                                                F bias, const RowsOut& where, const float* add, float* out) {
  F acc[TH * TW];
#pragma GCC unroll 32
  for (int i = 0; i < TH * TW; ++i) acc[i] = bias;
  const size_t column = static_cast<size_t>(x) * kLine;
  add_taps<TH, TW>(acc, rows[0] + column, weight, nullptr);
  for (int ky = 1; ky < kh; ++ky) {
    add_taps<TH, TW>(acc, rows[ky] + column, weight + ky * kRowTaps, TH > 1 ? weight + (ky - 1) * kRowTaps : nullptr);
  }
  if (TH > 1) add_taps<TH, TW>(acc, rows[kh] + column, nullptr, weight + (kh - 1) * kRowTaps);
  write_out<TH, TW>(acc, where, out, add);
}

template <int TH, int TW>
inline __attribute__((always_inline)) void depthwise_rows_width(const char* const* rows, int kh, int x, int width,
                                                                const uint32_t* weight, F bias, const RowsOut& where,
                                                                const float* add, float* out) {
  if (width == TW) return depthwise_rows_block<TH, TW>(rows, kh, x, weight, bias, where, add, out);
  if constexpr (TW > 1) depthwise_rows_width<TH, TW - 1>(rows, kh, x, width, weight, bias, where, add, out);
}

template <int TH>
__attribute__((noinline)) void depthwise_whole_rows(const char* const* rows, int kh, const uint32_t* weight, F bias,
                                                    const RowsOut& where, const float* add, float* out) {
  for (int x = 0, parts = (where.out_pitch + kRowColumns - 1) / kRowColumns; parts > 0; --parts) {
    const int width = (where.out_pitch - x + parts - 1) / parts;
    const size_t at = static_cast<size_t>(x) * kLanes;
    depthwise_rows_width<TH, kRowColumns>(rows, kh, x, width, weight, bias, where, add != nullptr ? add + at : nullptr, out + at);
    x += width;
  }
  if (needs_second_pass(where.finish)) Float32::finish_stored(out, TH, where.out_pitch, where.out_pitch, where.finish);
}

// The rows of a plane with what lies around them, as the windows read them.
class BorderedRows {
 public:
  BorderedRows(const LineMap& map, int columns) : map_(map), inside_(plain_span(map.columns, columns)) {
    if (inside_.n > 0) first_source_ = static_cast<size_t>(map.columns[inside_.first].source) * kLanes;
    for (int c = 0; c < columns; ++c) {
      if (inside_.holds(c)) continue;
      const Axis& axis = map.columns[c];
      around_[count_++] = {static_cast<size_t>(c) * kLanes, static_cast<size_t>(axis.source) * kLanes, axis.shift,
                           lane_indexes(0, axis.shift), of_columns(axis.inside)};
    }
  }

  // Row r of what the windows of one plane read.
  inline __attribute__((always_inline)) void copy(const uint32_t* plane, int r, uint32_t* to) const {
    const Axis& row = map_.rows[r];
    const uint32_t* const from = plane + static_cast<size_t>(row.source) * map_.source_w * kLanes;
    if (!row.plain) return copy_moved(row, from, to);
    const uint32_t* const inside = from + first_source_;
    uint32_t* const made = to + static_cast<size_t>(inside_.first) * kLanes;
    for (int c = 0; c < inside_.n; ++c) store_cells(made + c * kLanes, load_cells(inside + c * kLanes));
    for (int i = 0; i < count_; ++i) {
      const Around& one = around_[i];
      store_cells(to + one.to, __builtin_shuffle(load_cells(from + one.from), one.index) & one.inside);
    }
  }

 private:
  struct Around {
    size_t to, from;  // cells
    int shift;
    I index, inside;
  };

  // A row that lies in other lanes, or is outside of the image in some.
  __attribute__((noinline)) void copy_moved(const Axis& row, const uint32_t* from, uint32_t* to) const {
    const I mask = of_rows(row.inside), index = lane_indexes(row.shift, 0);
    const uint32_t* const inside = from + first_source_;
    uint32_t* const made = to + static_cast<size_t>(inside_.first) * kLanes;
    for (int c = 0; c < inside_.n; ++c) {
      store_cells(made + c * kLanes, __builtin_shuffle(load_cells(inside + c * kLanes), index) & mask);
    }
    for (int i = 0; i < count_; ++i) {
      const Around& one = around_[i];
      const I line = __builtin_shuffle(load_cells(from + one.from), lane_indexes(row.shift, one.shift));
      store_cells(to + one.to, line & mask & one.inside);
    }
  }

  const LineMap& map_;
  PlainSpan inside_;
  size_t first_source_ = 0;  // cells
  int count_ = 0;
  Around around_[kDepthwiseReach + 3];  // the last lanes of a plane lack three columns at most
};

void depthwise_rows(const DepthwiseRows& a) {
  const int columns = a.out_w + kRowTaps - 1;
  const size_t pitch = static_cast<size_t>(columns) * kLanes, row = static_cast<size_t>(a.out_w) * kLanes;
  const BorderedRows bordered(a.map, columns);
  const RowsOut where{a.finish, a.out_w};
  const char* rows[kDepthwiseReach];
  for (int plane = 0; plane < a.planes; ++plane) {
    const uint32_t* const source = a.source + plane * a.source_channel;
    for (int y = a.first, copied = a.first; y < a.end; y += 2) {
      const int n = y + 1 < a.end ? 2 : 1, read = a.kh + n - 1;
      for (; copied < y + read; ++copied) bordered.copy(source, copied, a.ring + copied % kDepthwiseReach * pitch);
      for (int i = 0; i < read; ++i) rows[i] = reinterpret_cast<const char*>(a.ring + (y + i) % kDepthwiseReach * pitch);
      for (int k = 0; k < a.multiplier; ++k) {
        const size_t made = static_cast<size_t>(plane) * a.multiplier + k;
        float* const out = a.out + made * a.out_channel + y * row;
        const float* const add = a.add != nullptr ? a.add + made * a.add_channel + y * row : nullptr;
        const uint32_t* const weight = a.weight + made * a.kh * kRowTaps;
        const F bias = Float32::spread(a.bias + made);
        // The rows that are made next: planes that no cache holds.
        for (size_t cell = 0; cell < 2 * row; cell += 16) __builtin_prefetch(out + 2 * row + cell, 1);
        if (n == 2) {
          depthwise_whole_rows<2>(rows, a.kh, weight, bias, where, add, out);
        } else {
          depthwise_whole_rows<1>(rows, a.kh, weight, bias, where, add, out);
        }
      }
    }
  }
}
