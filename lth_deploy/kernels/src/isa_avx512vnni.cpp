#define LTH_ISA_NAME "avx512vnni"
#define LTH_LANES 16
#define LTH_MAX_ACC 25
#define LTH_TILE_W 5
#define LTH_MAX_RUN 12
#define LTH_PAIR_ACC 12
#include "isa_sums.inl"

namespace lth {
const ByteSums* sums_avx512vnni() { return &kByteSums; }
}  // namespace lth
