#define LTH_ISA_NAME "avx512vnni"
#include "isa/sizes/avx512.inl"
#include "isa/generic/int8_only.inl"

namespace lth {
const Int8Kernels* int8_avx512vnni() { return &kInt8Kernels; }
}  // namespace lth
