#define LTH_ISA_NAME "neondot"
#include "isa/sizes/neon.inl"
#include "isa/generic/int8_only.inl"

namespace lth {
const Int8Kernels* int8_neon_dot() { return &kInt8Kernels; }
}  // namespace lth
