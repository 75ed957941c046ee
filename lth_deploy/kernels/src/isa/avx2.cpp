#define LTH_ISA_NAME "avx2"
#define LTH_LANES 8
#define LTH_MAX_ACC 12
#define LTH_TILE_W 6
#define LTH_MAX_RUN 12
#define LTH_PAIR_ACC 6
#define LTH_SINGLE_TUNING {.8, 0, {2.5, 12, 2.6, 0, 1.5, .35}}
#define LTH_PAIR_TUNING {.8, 0, {2.5, 12, 2.6, 0, 1.5, 0}}
#define LTH_INT8_TUNING {.8, 0, {2.5, 12, 2.6, 0, 1.5, .35}}
#define LTH_INT8_PAIR_TUNING {.8, 0, {2.5, 12, 2.6, 0, 1.5, 0}}
#include "isa/generic/kernels.inl"

namespace lth {
const Isa* isa_avx2() { return &kIsa; }
}  // namespace lth
