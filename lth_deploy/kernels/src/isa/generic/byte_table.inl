// A function of one byte, as a table of its 256 results.
// Requires vectors.inl.

#if (LTH_LANES == 16 && defined(__AVX512BW__)) || (LTH_LANES == 8 && defined(__AVX2__))

// A shuffle looks up 16 entries by the low half of a byte. All 16 parts of the table are looked up, and each of the four
// high bits then chooses between halves of what is left. (Adding up parts whose other bytes are zero took 1.05 to 1.3
// times as long on Zen 4.)
#if LTH_LANES == 16

typedef __m512i TableLine;
typedef __mmask64 ByteMask;
inline TableLine table_part(const uint8_t* table) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
}
inline TableLine low_halves(TableLine x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
inline TableLine shuffled(TableLine part, TableLine index) { return _mm512_shuffle_epi8(part, index); }
template <int BIT>
inline ByteMask bytes_with(TableLine x) { return _mm512_test_epi8_mask(x, _mm512_set1_epi8(static_cast<char>(1 << BIT))); }
inline TableLine chosen(ByteMask mask, TableLine without, TableLine with) {
  return _mm512_mask_blend_epi8(mask, without, with);
}

#else

typedef __m256i TableLine;
typedef __m256i ByteMask;
inline TableLine table_part(const uint8_t* table) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
}
inline TableLine low_halves(TableLine x) { return _mm256_and_si256(x, _mm256_set1_epi8(15)); }
inline TableLine shuffled(TableLine part, TableLine index) { return _mm256_shuffle_epi8(part, index); }
// The highest bit of each byte of a mask counts.
template <int BIT>
inline ByteMask bytes_with(TableLine x) { return _mm256_slli_epi16(x, 7 - BIT); }
inline TableLine chosen(ByteMask mask, TableLine without, TableLine with) {
  return _mm256_blendv_epi8(without, with, mask);
}

#endif

void look_up(const uint32_t* x, size_t cells, const uint8_t* table, uint32_t* out) {
  TableLine part[16];
  for (int k = 0; k < 16; ++k) part[k] = table_part(table + 16 * k);
  for (size_t i = 0; i < cells; i += kLanes) {
    const TableLine line = (TableLine)load_cells(x + i), index = low_halves(line);
    const ByteMask bit4 = bytes_with<4>(line), bit5 = bytes_with<5>(line), bit6 = bytes_with<6>(line);
    TableLine found[8];
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) found[k] = chosen(bit4, shuffled(part[2 * k], index), shuffled(part[2 * k + 1], index));
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) found[k] = chosen(bit5, found[2 * k], found[2 * k + 1]);
#pragma GCC unroll 2
    for (int k = 0; k < 2; ++k) found[k] = chosen(bit6, found[2 * k], found[2 * k + 1]);
    store_cells(out + i, (I)chosen(bytes_with<7>(line), found[0], found[1]));
  }
}

#elif LTH_LANES == 4 && defined(__aarch64__)

// An instruction looks up 64 entries. Indexes beyond give 0, or leave what an earlier part has given.
void look_up(const uint32_t* x, size_t cells, const uint8_t* table, uint32_t* out) {
  const uint8x16x4_t part[4] = {vld1q_u8_x4(table), vld1q_u8_x4(table + 64), vld1q_u8_x4(table + 128),
                                vld1q_u8_x4(table + 192)};
  const uint8x16_t step = vdupq_n_u8(64);
  for (size_t i = 0; i < cells; i += kLanes) {
    uint8x16_t index = vreinterpretq_u8_u32(vld1q_u32(x + i));
    uint8x16_t found = vqtbl4q_u8(part[0], index);
#pragma GCC unroll 3
    for (int k = 1; k < 4; ++k) {
      index = vsubq_u8(index, step);
      found = vqtbx4q_u8(found, part[k], index);
    }
    vst1q_u32(out + i, vreinterpretq_u32_u8(found));
  }
}

#else

void look_up(const uint32_t* x, size_t cells, const uint8_t* table, uint32_t* out) {
  for (size_t i = 0; i < cells; ++i) {
    const uint32_t v = x[i];
    out[i] = table[v & 255] | uint32_t{table[v >> 8 & 255]} << 8 | uint32_t{table[v >> 16 & 255]} << 16 |
             uint32_t{table[v >> 24]} << 24;
  }
}

#endif
