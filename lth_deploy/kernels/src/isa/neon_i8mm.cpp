#define LTH_ISA_NAME "neoni8mm"
#include "isa/sizes/neon.inl"
#include "isa/generic/int8_only.inl"

namespace lth {
const Int8Kernels* int8_neon_i8mm() { return &kInt8Kernels; }
}  // namespace lth
