#define LTH_ISA_NAME "avx2"
#include "isa/sizes/avx2.inl"
#define LTH_SINGLE_TUNING {.8, 0, {2.5, 12, 2.6, 0, 1.5, .35}}
#define LTH_PAIR_TUNING {.8, 0, {2.5, 12, 2.6, 0, 1.5, 0}}
#include "isa/generic/kernels.inl"

namespace lth {
const Isa* isa_avx2() { return &kIsa; }
}  // namespace lth
