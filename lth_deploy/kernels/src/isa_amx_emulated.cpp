#define LTH_ISA_NAME "amx_emulated"
#define LTH_TILES "amx_emulated_tiles.h"
#include "isa_amx.inl"

namespace lth {
const DenseKernels* dense_amx_emulated() { return &kDense; }
}  // namespace lth
