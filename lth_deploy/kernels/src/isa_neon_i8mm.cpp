#define LTH_ISA_NAME "neoni8mm"
#define LTH_LANES 4
#define LTH_MAX_ACC 20
#define LTH_TILE_W 5
#define LTH_MAX_RUN 20
#define LTH_PAIR_ACC 10
#include "isa_sums.inl"

namespace lth {
const ByteSums* sums_neon_i8mm() { return &kByteSums; }
}  // namespace lth
