#define LTH_ISA_NAME "avxvnni"
#include "isa/sizes/avx2.inl"
#include "isa/generic/int8_only.inl"

namespace lth {
const Int8Kernels* int8_avxvnni() { return &kInt8Kernels; }
}  // namespace lth
