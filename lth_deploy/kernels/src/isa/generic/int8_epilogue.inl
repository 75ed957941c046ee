// Sums of bytes, and how the sums of four rows become the cells of one line.
// Requires activations.inl, int8_vectors.inl.

// Integer sums of weights of four bytes times lines of four bytes a cell.
struct Bytes {
  typedef I Sum;
  typedef I Line;
  typedef QuadWeight Spread;
  static constexpr bool kQuads = true;

  static inline __attribute__((always_inline)) Sum start(const uint32_t* bias) { return broadcast_cell(*bias); }
  static inline __attribute__((always_inline)) Sum load(const void* p) { return load_cells(p); }
  static inline __attribute__((always_inline)) void store(void* p, Sum v) { store_cells(p, v); }
  static inline __attribute__((always_inline)) Spread spread(const uint32_t* w) { return quad_weight(w); }
  static inline __attribute__((always_inline)) Line line(const void* p) { return load_cells(p); }
  static inline __attribute__((always_inline)) void add(Sum& sum, const Spread& w, Line x) { dot(sum, w, x); }
};

inline __attribute__((always_inline)) B byte_bound(int32_t byte) { return static_cast<uint8_t>(byte) - B{}; }

inline __attribute__((always_inline)) I between(I cells, B low, B high) {
  B bytes = reinterpret_cast<B>(cells);
  bytes = bytes > low ? bytes : low;
  return reinterpret_cast<I>(bytes < high ? bytes : high);
}

inline __attribute__((always_inline)) F real_of(const float* sums) {
  return __builtin_convertvector(load_cells(sums), F);
}

// One line of the sums of four rows, `second` cells from one to the next, as steps of the result.
template <bool ADD, bool ACT>
inline __attribute__((always_inline)) I finished(const float* sums, size_t second, const F (&m)[4], const Requantize& q,
                                                 const uint32_t* add, B low, B high) {
  F v[4];
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) v[k] = real_of(sums + k * second) * m[k];
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
  return between(join(v[0], v[1], v[2], v[3], q.zero), low, high);
}

template <bool ADD, bool ACT>
void finish_bytes(const Rows& a, int row) {
  const Requantize& q = *a.requantize;
  const size_t second = static_cast<size_t>(a.th) * a.tw * kLanes;
  const F m[4] = {broadcast(q.multiplier[row]), broadcast(q.multiplier[row + 1]), broadcast(q.multiplier[row + 2]),
                  broadcast(q.multiplier[row + 3])};
  const B low = byte_bound(q.low), high = byte_bound(q.high);
  const float* sums = a.quad;
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

// Sums that leave as float32.
void finish_floats(const Rows& a, int row) {
  const Requantize& q = *a.requantize;
  const size_t second = static_cast<size_t>(a.th) * a.tw * kLanes;
  for (int k = 0; k < 4 && row + k < a.channels; ++k) {
    const F m = broadcast(q.multiplier[row + k]);
    const float* sums = a.quad + k * second;
    float* out = a.out + (row + k) * a.out_channel;
    for (int y = 0; y < a.th; ++y, out += static_cast<size_t>(a.out_pitch) * kLanes) {
      for (int x = 0; x < a.tw; ++x, sums += kLanes) store_line(out + x * kLanes, activate(real_of(sums) * m, q.finish));
    }
  }
}

__attribute__((noinline)) void finish_quad(const Rows& a, int row) {
  const bool act = a.requantize->finish.kind != Epilogue::kNone;
  if (a.requantize->to_floats) return finish_floats(a, row);
  if (a.add != nullptr) return act ? finish_bytes<true, true>(a, row) : finish_bytes<true, false>(a, row);
  return act ? finish_bytes<false, true>(a, row) : finish_bytes<false, false>(a, row);
}
