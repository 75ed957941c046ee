#define LTH_ISA_NAME "neon"
#define LTH_LANES 4
#define LTH_MAX_ACC 20
#define LTH_TILE_W 5
#define LTH_MAX_RUN 20
#define LTH_PAIR_ACC 10
#include "isa_kernels.inl"

namespace lth {
const Isa* isa_neon() { return &kIsa; }
}  // namespace lth
