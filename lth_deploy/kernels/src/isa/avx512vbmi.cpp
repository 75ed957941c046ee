// The one kernel that gains by VBMI, which is detected by itself: processors with VNNI may lack it.
#include <immintrin.h>

#include "isa/isa.h"

namespace lth {

// An instruction looks up 128 entries by the low seven bits; the highest bit chooses.
void look_up_avx512vbmi(const uint32_t* x, size_t cells, const uint8_t* table, uint32_t* out) {
  __m512i part[4];
  for (int k = 0; k < 4; ++k) part[k] = _mm512_loadu_si512(table + 64 * k);
  for (size_t i = 0; i < cells; i += 16) {
    const __m512i index = _mm512_loadu_si512(x + i);
    const __m512i low = _mm512_permutex2var_epi8(part[0], index, part[1]);
    const __m512i high = _mm512_permutex2var_epi8(part[2], index, part[3]);
    _mm512_storeu_si512(out + i, _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), low, high));
  }
}

}  // namespace lth
