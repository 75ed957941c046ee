#define LTH_ISA_NAME "avx512"
#define LTH_LANES 16
#define LTH_MAX_ACC 25
#define LTH_TILE_W 5
#define LTH_MAX_RUN 12
#define LTH_PAIR_ACC 12
#include "isa_kernels.inl"

namespace lth {
const Isa* isa_avx512() { return &kIsa; }
}  // namespace lth
