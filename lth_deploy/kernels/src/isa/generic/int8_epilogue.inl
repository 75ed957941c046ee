// int8 multiply-adds, and how the accumulators of four rows become the cells of one line.
// Requires activations.inl, int8_vectors.inl.

// Four int8 weights times lines of cells of four uint8, accumulated in int32.
struct Int8 {
  typedef I Accumulator;
  typedef I Line;
  typedef Int8Weight Spread;
  static constexpr bool kInt8 = true;

  static inline __attribute__((always_inline)) Accumulator start(const uint32_t* bias) { return broadcast_cell(*bias); }
  static inline __attribute__((always_inline)) Accumulator load(const void* p) { return load_cells(p); }
  static inline __attribute__((always_inline)) void store(void* p, Accumulator v) { store_cells(p, v); }
  static inline __attribute__((always_inline)) Spread spread(const uint32_t* w) { return int8_weight(w); }
  static inline __attribute__((always_inline)) Line line(const void* p) { return load_cells(p); }
  static inline __attribute__((always_inline)) void add(Accumulator& sum, const Spread& w, Line x) { dot(sum, w, x); }
};

inline __attribute__((always_inline)) B uint8_bound(int32_t byte) { return static_cast<uint8_t>(byte) - B{}; }

inline __attribute__((always_inline)) I between(I cells, B low, B high) {
  B bytes = reinterpret_cast<B>(cells);
  bytes = bytes > low ? bytes : low;
  return reinterpret_cast<I>(bytes < high ? bytes : high);
}

inline __attribute__((always_inline)) F real_of(const float* sums) {
  return __builtin_convertvector(load_cells(sums), F);
}

// One line of the accumulators of four rows as steps of the result.
template <bool ADD, bool ACT>
inline __attribute__((always_inline)) I finished(const I (&sums)[4], const F (&m)[4], const Requantize& q, const uint32_t* add,
                                                 B low, B high) {
  F v[4];
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) v[k] = __builtin_convertvector(sums[k], F) * m[k];
  if (ADD) {
    const I cells = load_cells(add);
    const F scale = broadcast(q.add_scale), offset = broadcast(q.offset);
    v[0] += byte_of<0>(cells) * scale + offset;
    v[1] += byte_of<1>(cells) * scale + offset;
    v[2] += byte_of<2>(cells) * scale + offset;
    v[3] += byte_of<3>(cells) * scale + offset;
  }
  if (ACT) {
    const F to_steps = broadcast(q.to_steps);
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) v[k] = activate(v[k], q.finish) * to_steps;
  }
  return between(join(v[0], v[1], v[2], v[3], q.zero_point), low, high);
}

// The same of accumulators that lie in memory, `second` cells from one row to the next.
template <bool ADD, bool ACT>
inline __attribute__((always_inline)) I finished(const float* sums, size_t second, const F (&m)[4], const Requantize& q,
                                                 const uint32_t* add, B low, B high) {
  const I rows[4] = {load_cells(sums), load_cells(sums + second), load_cells(sums + 2 * second), load_cells(sums + 3 * second)};
  return finished<ADD, ACT>(rows, m, q, add, low, high);
}

template <bool ADD, bool ACT>
void finish_quantized(const Rows& a, int row) {
  const Requantize& q = *a.requantize;
  const size_t second = static_cast<size_t>(a.th) * a.tw * kLanes;
  const F m[4] = {broadcast(q.multiplier[row]), broadcast(q.multiplier[row + 1]), broadcast(q.multiplier[row + 2]),
                  broadcast(q.multiplier[row + 3])};
  const B low = uint8_bound(q.low), high = uint8_bound(q.high);
  const float* sums = a.four_rows;
  for (int y = 0; y < a.th; ++y) {
    const size_t line = static_cast<size_t>(y) * a.out_pitch * kLanes;
    float* const out = a.out + row / 4 * a.out_channel + line;
    const float* const add = ADD ? a.add + row / 4 * a.add_channel + line : nullptr;
    for (int x = 0; x < a.tw; ++x, sums += kLanes) {
      const uint32_t* const cells = ADD ? reinterpret_cast<const uint32_t*>(add + x * kLanes) : nullptr;
      store_cells(out + x * kLanes, finished<ADD, ACT>(sums, second, m, q, cells, low, high));
    }
  }
}

// Accumulators that become float32.
void finish_float(const Rows& a, int row) {
  const Requantize& q = *a.requantize;
  const size_t second = static_cast<size_t>(a.th) * a.tw * kLanes;
  for (int k = 0; k < 4 && row + k < a.channels; ++k) {
    const F m = broadcast(q.multiplier[row + k]);
    const float* sums = a.four_rows + k * second;
    float* out = a.out + (row + k) * a.out_channel;
    for (int y = 0; y < a.th; ++y, out += static_cast<size_t>(a.out_pitch) * kLanes) {
      for (int x = 0; x < a.tw; ++x, sums += kLanes) store_line(out + x * kLanes, activate(real_of(sums) * m, q.finish));
    }
  }
}

__attribute__((noinline, unused)) void finish_four_rows(const Rows& a, int row) {
  const bool act = a.requantize->finish.epilogue != Epilogue::kNone;
  if (a.requantize->to_floats) return finish_float(a, row);
  if (a.add != nullptr) return act ? finish_quantized<true, true>(a, row) : finish_quantized<true, false>(a, row);
  return act ? finish_quantized<false, true>(a, row) : finish_quantized<false, false>(a, row);
}
