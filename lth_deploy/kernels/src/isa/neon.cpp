#define LTH_ISA_NAME "neon"
#include "isa/sizes/neon.inl"
#define LTH_SINGLE_TUNING {.57, 0, {2.5, 12, 2.6, 0, 1.5, 0}}
#define LTH_PAIR_TUNING {.8, 0, {2.5, 12, 2.6, 0, 1.5, 0}}
#include "isa/generic/kernels.inl"

namespace lth {
const Isa* isa_neon() { return &kIsa; }
}  // namespace lth
