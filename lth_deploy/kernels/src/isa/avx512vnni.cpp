#define LTH_ISA_NAME "avx512vnni"
#define LTH_LANES 16
#define LTH_PREFETCH_DURING_MACS
#define LTH_MAX_ACC 25
#define LTH_TILE_W 5
#define LTH_MAX_RUN 12
#define LTH_PAIR_ACC 12
#define LTH_INT8_TUNING {1.1, 0, {1, 3, 1.3, .03, 6, .35}, true}
#define LTH_INT8_PAIR_TUNING {.8, .2, {.8, 10, 2.3, 0, 6, 0}, true}
#include "isa/generic/int8_only.inl"

namespace lth {
const Int8Kernels* int8_avx512vnni() { return &kInt8Kernels; }
}  // namespace lth
