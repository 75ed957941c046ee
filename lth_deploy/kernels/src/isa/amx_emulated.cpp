#define LTH_ISA_NAME "amx_emulated"
#define LTH_TILES "isa/amx_emulated_tiles.h"
#include "isa/generic/dense_matrix.inl"

namespace lth {
const DenseKernels* dense_amx_emulated() { return &kDense; }
const DenseKernels* dense_bf16_amx_emulated() { return &kDenseBf16; }
}  // namespace lth
