// Float32 rounded to cells of two bf16 channels: to the nearest, halves to even; below 2^-126 to zero.
// Requires window_reads.inl.

constexpr int32_t kUpperHalf = static_cast<int32_t>(0xffff0000u);

#if LTH_LANES == 16 && defined(__AVX512BF16__)

// Words 0 and 16, 1 and 17, ...: the conversion leaves those of the one vector behind those of the other.
inline __attribute__((always_inline)) I joined(F even, F odd) {
  const I low = lane_numbers();
  const I words = low | (low + 16) << 16;
  return (I)_mm512_permutexvar_epi16((__m512i)words, (__m512i)_mm512_cvtne2ps_pbh((__m512)odd, (__m512)even));
}

#else

// In the upper half of each cell; what is there below is of no use. Below 2^-126 it is zero, and a NaN stays one.
inline __attribute__((always_inline)) I rounded_to_bf16(F x) {
  const I bits = reinterpret_cast<I>(x), size = bits & 0x7fffffff;
  const I nearest = bits + 0x7fff + ((bits >> 16) & 1);
  const I finite = size < 0x00800000 ? bits & ~0x7fffffff : nearest;
  return size > 0x7f800000 ? bits | 0x00400000 : finite;
}

inline __attribute__((always_inline)) I joined(F even, F odd) {
  return ((rounded_to_bf16(even) >> 16) & 0xffff) | (rounded_to_bf16(odd) & kUpperHalf);
}

#endif
