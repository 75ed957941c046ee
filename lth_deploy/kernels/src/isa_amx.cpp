#ifdef LTH_NO_AMX

#include "isa.h"

namespace lth {
const DenseKernels* dense_amx() { return nullptr; }
}  // namespace lth

#else

#define LTH_ISA_NAME "amx"
#define LTH_TILES "amx_tiles.h"
#include "isa_amx.inl"

namespace lth {
const DenseKernels* dense_amx() { return &kDense; }
}  // namespace lth

#endif
