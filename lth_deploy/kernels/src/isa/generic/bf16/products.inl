// bf16 weights times lines of cells of two bf16 channels, accumulated in float32: see Bf16Kernels.
// Requires conv_rows.inl, bf16/rounding.inl.

#if LTH_LANES == 16 && defined(__AVX512BF16__)

typedef I Bf16Weight;
inline __attribute__((always_inline)) Bf16Weight bf16_weight(const uint32_t* w) { return broadcast_cell(*w); }
inline __attribute__((always_inline)) void add_products(F& sum, Bf16Weight w, I x) {
  sum = (F)_mm512_dpbf16_ps((__m512)sum, (__m512bh)w, (__m512bh)x);
}

#else

inline __attribute__((always_inline)) F odd_channel(I cells) { return reinterpret_cast<F>(cells & kUpperHalf); }
inline __attribute__((always_inline)) F even_channel(I cells) { return reinterpret_cast<F>(cells << 16); }

#if defined(__aarch64__)

// Both channels in one register, multiplied by lane: with a register for each, sums of a tile are spilled.
typedef float32x4_t Bf16Weight;
inline __attribute__((always_inline)) Bf16Weight bf16_weight(const uint32_t* w) {
  const float32x2_t both = vcreate_f32((*w & 0xffff0000u) | static_cast<uint64_t>(*w) << 48);
  return vcombine_f32(both, both);
}
inline __attribute__((always_inline)) void add_products(F& sum, const Bf16Weight& w, I x) {
  sum = (F)vfmaq_laneq_f32((float32x4_t)sum, (float32x4_t)odd_channel(x), w, 0);
  sum = (F)vfmaq_laneq_f32((float32x4_t)sum, (float32x4_t)even_channel(x), w, 1);
}

#else

struct Bf16Weight {
  F odd, even;
};

inline __attribute__((always_inline)) Bf16Weight bf16_weight(const uint32_t* w) {
  const I both = broadcast_cell(*w);
  return {odd_channel(both), even_channel(both)};
}
inline __attribute__((always_inline)) void add_products(F& sum, const Bf16Weight& w, I x) {
  sum += w.odd * odd_channel(x);
  sum += w.even * even_channel(x);
}

#endif

#endif

struct Bfloat16 : Float32 {
  typedef I Line;
  typedef Bf16Weight Spread;
  static inline __attribute__((always_inline)) Spread spread(const uint32_t* w) { return bf16_weight(w); }
  static inline __attribute__((always_inline)) Line line(const void* p) { return load_cells(p); }
  static inline __attribute__((always_inline)) void add(F& sum, const Spread& w, Line x) { add_products(sum, w, x); }
};

void join_channels(const float* even, const float* odd, size_t cells, uint32_t* out) {
  for (size_t i = 0; i < cells; i += kLanes) {
    store_cells(out + i, joined(load_line(even + i), odd != nullptr ? load_line(odd + i) : F{}));
  }
}
