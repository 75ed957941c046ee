// What differs from one instruction set to the next where a cell is four uint8: the products with int8 weights, and the
// way from float32 to uint8 and back. Each form gives the same bits.
// Requires vectors.inl.

typedef uint8_t B __attribute__((vector_size(LTH_LANES * 4)));

// Byte 4 l + k takes byte 4 k + l of its 128 bits: four runs of four become four cells.
#define LTH_ZIP4 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15

// Beyond every byte, and within the 16 bits that saturate and the integers that a conversion reaches.
constexpr float kFarSteps = 30000.f;

#if LTH_LANES == 16 && defined(__AVX512BW__)

inline __attribute__((always_inline)) I rounded(F x) { return (I)_mm512_cvtps_epi32((__m512)x); }

// Four lines, the steps of four channels, become a line of cells: plus the zero point, bounded by 0 and 255.
inline __attribute__((always_inline)) I join(F a, F b, F c, F d, int32_t zero) {
  const F far = broadcast(kFarSteps);  // a conversion turns what is too low into the least integer, what is too high too
  const __m512i z = _mm512_set1_epi16(static_cast<short>(zero));
  const __m512i ab = _mm512_packs_epi32((__m512i)rounded(smaller(a, far)), (__m512i)rounded(smaller(b, far)));
  const __m512i cd = _mm512_packs_epi32((__m512i)rounded(smaller(c, far)), (__m512i)rounded(smaller(d, far)));
  const __m512i all = _mm512_packus_epi16(_mm512_adds_epi16(ab, z), _mm512_adds_epi16(cd, z));
  return (I)_mm512_shuffle_epi8(all, _mm512_broadcast_i32x4(_mm_setr_epi8(LTH_ZIP4)));
}

template <int K>
inline __attribute__((always_inline)) F byte_of(I cells) {
  constexpr char x = static_cast<char>(0x80);
  const __m128i index = _mm_setr_epi8(K, x, x, x, K + 4, x, x, x, K + 8, x, x, x, K + 12, x, x, x);
  return (F)_mm512_cvtepi32_ps(_mm512_shuffle_epi8((__m512i)cells, _mm512_broadcast_i32x4(index)));
}

#elif LTH_LANES == 8 && defined(__AVX2__)

inline __attribute__((always_inline)) I rounded(F x) { return (I)_mm256_cvtps_epi32((__m256)x); }

inline __attribute__((always_inline)) I join(F a, F b, F c, F d, int32_t zero) {
  const F far = broadcast(kFarSteps);
  const __m256i z = _mm256_set1_epi16(static_cast<short>(zero));
  const __m256i ab = _mm256_packs_epi32((__m256i)rounded(smaller(a, far)), (__m256i)rounded(smaller(b, far)));
  const __m256i cd = _mm256_packs_epi32((__m256i)rounded(smaller(c, far)), (__m256i)rounded(smaller(d, far)));
  const __m256i all = _mm256_packus_epi16(_mm256_adds_epi16(ab, z), _mm256_adds_epi16(cd, z));
  return (I)_mm256_shuffle_epi8(all, _mm256_broadcastsi128_si256(_mm_setr_epi8(LTH_ZIP4)));
}

template <int K>
inline __attribute__((always_inline)) F byte_of(I cells) {
  return __builtin_convertvector((cells >> (8 * K)) & 255, F);
}

#else

// The lowest bits of x + 1.5 * 2^23 are x, rounded to even as every addition is; ARM and others convert so as well.
inline __attribute__((always_inline)) I rounded(F x) {
  const F magic = broadcast(12582912.f);
  x = smaller(larger(x, broadcast(-kFarSteps)), broadcast(kFarSteps));
  F shifted = x + magic;
  return reinterpret_cast<I>(shifted) - reinterpret_cast<I>(magic);
}

inline __attribute__((always_inline)) I bounded(I x, int32_t zero) {
  x += zero;
  x = x < 0 ? I{} : x;
  return x > 255 ? I{} + 255 : x;
}

inline __attribute__((always_inline)) I join(F a, F b, F c, F d, int32_t zero) {
  return bounded(rounded(a), zero) | bounded(rounded(b), zero) << 8 | bounded(rounded(c), zero) << 16 |
         bounded(rounded(d), zero) << 24;
}

template <int K>
inline __attribute__((always_inline)) F byte_of(I cells) {
  return __builtin_convertvector((cells >> (8 * K)) & 255, F);
}

#endif

// ---- sums of four products: cells of four uint8 times a weight of four int8, accumulated in int32

#if LTH_LANES == 16 && defined(__AVX512VNNI__)

constexpr int kByteShift = 0;
typedef I Int8Weight;
inline __attribute__((always_inline)) Int8Weight int8_weight(const uint32_t* w) { return broadcast_cell(*w); }
inline __attribute__((always_inline)) void dot(I& sum, Int8Weight w, I x) {
  sum = (I)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x, (__m512i)w);
}

#elif LTH_LANES == 8 && defined(__AVXVNNI__)

constexpr int kByteShift = 0;
typedef I Int8Weight;
inline __attribute__((always_inline)) Int8Weight int8_weight(const uint32_t* w) { return broadcast_cell(*w); }
inline __attribute__((always_inline)) void dot(I& sum, Int8Weight w, I x) {
  sum = (I)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)x, (__m256i)w);
}

#elif (LTH_LANES == 16 && defined(__AVX512BW__)) || (LTH_LANES == 8 && defined(__AVX2__))

// Bytes 0 and 2, and bytes 1 and 3, as 16 bits: their products never saturate, as those of vpmaddubsw do.
constexpr int kByteShift = 0;
typedef int16_t H __attribute__((vector_size(LTH_LANES * 4)));
struct Int8Weight {
  H even, odd;
};
inline __attribute__((always_inline)) Int8Weight int8_weight(const uint32_t* w) {
  const H both = reinterpret_cast<H>(broadcast_cell(*w));
  return {both << 8 >> 8, both >> 8};
}
inline __attribute__((always_inline)) I products(H x, H w) {
#if LTH_LANES == 16
  return (I)_mm512_madd_epi16((__m512i)x, (__m512i)w);
#else
  return (I)_mm256_madd_epi16((__m256i)x, (__m256i)w);
#endif
}
inline __attribute__((always_inline)) void dot(I& sum, Int8Weight w, I x) {
  typedef uint16_t U __attribute__((vector_size(LTH_LANES * 4)));
  const U bytes = reinterpret_cast<U>(x);
  sum += products(reinterpret_cast<H>(bytes & 255), w.even) + products(reinterpret_cast<H>(bytes >> 8), w.odd);
}

#elif LTH_LANES == 4 && defined(__ARM_FEATURE_MATMUL_INT8)

constexpr int kByteShift = 0;
typedef I Int8Weight;
inline __attribute__((always_inline)) Int8Weight int8_weight(const uint32_t* w) { return broadcast_cell(*w); }
inline __attribute__((always_inline)) void dot(I& sum, Int8Weight w, I x) {
  sum = (I)vusdotq_s32((int32x4_t)sum, (uint8x16_t)x, (int8x16_t)w);
}

#elif LTH_LANES == 4 && defined(__ARM_FEATURE_DOTPROD)

constexpr int kByteShift = 128;  // both factors are signed: x - 128 instead of x, and the bias makes up for it
typedef I Int8Weight;
inline __attribute__((always_inline)) Int8Weight int8_weight(const uint32_t* w) { return broadcast_cell(*w); }
inline __attribute__((always_inline)) void dot(I& sum, Int8Weight w, I x) {
  sum = (I)vdotq_s32((int32x4_t)sum, veorq_s8((int8x16_t)x, vdupq_n_s8(-128)), (int8x16_t)w);
}

#elif LTH_LANES == 4 && defined(__aarch64__)

constexpr int kByteShift = 0;
typedef int16x4_t Int8Weight;
inline __attribute__((always_inline)) Int8Weight int8_weight(const uint32_t* w) {
  return vget_low_s16(vmovl_s8((int8x8_t)vdup_n_u32(*w)));
}
inline __attribute__((always_inline)) void dot(I& sum, Int8Weight w, I x) {
  const int16x8_t low = (int16x8_t)vmovl_u8(vget_low_u8((uint8x16_t)x));
  const int16x8_t high = (int16x8_t)vmovl_u8(vget_high_u8((uint8x16_t)x));
  const int32x4_t a = vmull_s16(vget_low_s16(low), w), b = vmull_s16(vget_high_s16(low), w);
  const int32x4_t c = vmull_s16(vget_low_s16(high), w), d = vmull_s16(vget_high_s16(high), w);
  sum = (I)vaddq_s32((int32x4_t)sum, vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d)));
}

#else

constexpr int kByteShift = 0;
struct Int8Weight {
  I byte[4];
};
inline __attribute__((always_inline)) Int8Weight int8_weight(const uint32_t* w) {
  const I all = broadcast_cell(*w);
  return {{all << 24 >> 24, all << 16 >> 24, all << 8 >> 24, all >> 24}};
}
inline __attribute__((always_inline)) void dot(I& sum, const Int8Weight& w, I x) {
  sum += (x & 255) * w.byte[0] + (x >> 8 & 255) * w.byte[1] + (x >> 16 & 255) * w.byte[2] + (x >> 24 & 255) * w.byte[3];
}

#endif
