#define LTH_ISA_NAME "avx512"
#include "isa/sizes/avx512.inl"
#define LTH_SINGLE_TUNING {1.1, 0, {1, 3, 1.3, .03, 6, .35}, true}
#define LTH_PAIR_TUNING {.8, .2, {.8, 10, 2.3, 0, 6, 0}, true}
#include "isa/generic/kernels.inl"

namespace lth {
const Isa* isa_avx512() { return &kIsa; }
}  // namespace lth
