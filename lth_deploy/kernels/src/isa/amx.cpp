#ifdef LTH_NO_AMX

#include "isa/isa.h"

namespace lth {
const DenseKernels* dense_amx() { return nullptr; }
const DenseKernels* dense_bf16_amx() { return nullptr; }
}  // namespace lth

#else

#define LTH_ISA_NAME "amx"
#define LTH_TILES "isa/amx_tiles.h"
#include "isa/generic/dense_matrix.inl"

namespace lth {
const DenseKernels* dense_amx() { return &kDense; }
const DenseKernels* dense_bf16_amx() { return &kDenseBf16; }
}  // namespace lth

#endif
