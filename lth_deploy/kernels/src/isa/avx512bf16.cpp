// The products that gain by AVX512-BF16, which is detected by itself: processors with VNNI may lack it.
#define LTH_ISA_NAME "avx512bf16"
#include "isa/sizes/avx512.inl"
#include "isa/generic/bf16/bf16_only.inl"

namespace lth {
const Bf16Kernels* bf16_avx512() { return &kBf16Kernels; }
}  // namespace lth
