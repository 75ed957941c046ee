// Sparse convolutions of int8 and bf16 weights by matrix tiles: of 16 output rows, or of 32, only the places (a cell at a tap) at which any row has a
// weight are multiplied. The lines of 16 places are copied together, one step ahead of the products.
// Included by isa/generic/dense_matrix.inl. Requires its blocks of lines and their epilogue.

// The lines of 16 places that LINES neighboring output lines read, as matrix tiles.
template <int LINES>
inline __attribute__((always_inline)) void gather(const char* from, size_t x, const size_t* offset, MatrixRow* to) {
  for (int place = 0; place < kMatrixRows; ++place) {
    const char* const line = from + offset[place];
    for (int l = 0; l < LINES; ++l) store_cells(to + l * kMatrixRows + place, load_cells(line + l * x));
  }
}

template <class T, int LINES, int SHARED, int L = 0>
inline __attribute__((always_inline)) void multiply_gathered(const MatrixRow* lines) {
  load_tile<kLineTile>(lines + L * kMatrixRows, sizeof(MatrixRow));
  T::template multiply<L, kWeightTile, kLineTile>();
  if constexpr (SHARED > 1) T::template multiply<LINES + L, kWeightTile + 1, kLineTile>();
  if constexpr (L + 1 < LINES) multiply_gathered<T, LINES, SHARED, L + 1>(lines);
}

// The accumulators of SHARED times 16 rows for LINES neighboring lines, from tile `first` of the places up to `end`.
template <class T, int LINES, int SHARED>
inline __attribute__((always_inline)) void sum_gathered(const DenseRows& a, const char* from, int first, int end, MatrixRow* ring) {
  const MatrixRow* weights = a.weights + static_cast<size_t>(first) * SHARED * kMatrixRows;
  const size_t* const offset = a.offset + static_cast<size_t>(first) * kMatrixRows;
  constexpr int half = LINES * kMatrixRows;
  if (first < end) gather<LINES>(from, a.x, offset, ring);
  for (int t = 0; first + t < end; ++t, weights += SHARED * kMatrixRows) {
    stream_tile<kWeightTile>(weights, sizeof(MatrixRow));
    if constexpr (SHARED > 1) stream_tile<kWeightTile + 1>(weights + kMatrixRows, sizeof(MatrixRow));
    if (first + t + 1 < end) gather<LINES>(from, a.x, offset + (t + 1) * kMatrixRows, ring + (t + 1) % 2 * half);
    multiply_gathered<T, LINES, SHARED>(ring + t % 2 * half);
  }
}

template <class T, int LINES, int SHARED>
__attribute__((noinline)) void run_gathered(const DenseRows& a, const LineBlock& block, int unit) {
  const int group = unit * SHARED;
  const MatrixRow* const bias = a.scratch + group * kMatrixRows;
  MatrixRow* const sums = a.scratch + a.groups * kMatrixRows;
  MatrixRow* const ring = sums + kMatrixLines * kMatrixRows;
  const size_t line = (static_cast<size_t>(block.y) * a.rows.out_pitch + block.x) * kLanes;
  T::template prefetch<LINES>(a.rows, group * kMatrixRows, line);
  if constexpr (SHARED > 1) T::template prefetch<LINES>(a.rows, (group + 1) * kMatrixRows, line);
  load_bias<LINES>(bias);
  if constexpr (SHARED > 1) load_bias<LINES, LINES>(bias + kMatrixRows);
  sum_gathered<T, LINES, SHARED>(a, static_cast<const char*>(a.source) + block.y * a.y + block.x * a.x,
                              a.first_tile[unit] - a.first_tile[0], a.first_tile[unit + 1] - a.first_tile[0], ring);
  store_sums<LINES>(sums);
  T::template finish<LINES>(a.rows, sums, group * kMatrixRows, line);
  if constexpr (SHARED > 1) {
    store_sums<LINES, LINES>(sums);
    T::template finish<LINES>(a.rows, sums, (group + 1) * kMatrixRows, line);
  }
}

template <class T>
void gathered_rows(const DenseRows& a) {
  spread_bias(a);
  const BlockFn alone[kMatrixLines] = {run_gathered<T, 1, 1>, run_gathered<T, 2, 1>, run_gathered<T, 3, 1>, run_gathered<T, 4, 1>};
  const BlockFn shared[kMatrixLines / 2] = {run_gathered<T, 1, 2>, run_gathered<T, 2, 2>};
  const BlockFn* const kernels = a.shared > 1 ? shared : alone;
  const Tiles tiles;
  for (int unit = 0; unit < a.groups / a.shared; ++unit) {
    const DenseRows here = from_row(a, unit * a.shared * kMatrixRows);
    each_block(here, kMatrixLines / a.shared, a.shared * kMatrixRows,
               [&](const LineBlock& block) { kernels[block.n - 1](here, block, unit); });
  }
  end_of_stream();
}
