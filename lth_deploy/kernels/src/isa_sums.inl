// The sums of bytes alone, for instruction sets that otherwise have the kernels of another: the same tiles as those.
#include "isa.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace lth {
namespace {

#include "isa_vectors.inl"
#include "isa_rows.inl"
#include "isa_activate.inl"
#include "isa_bytes.inl"
#include "isa_byte_rows.inl"
#include "isa_dispatch.inl"

constexpr ByteSums kByteSums = {LTH_ISA_NAME, single_kernel<Bytes>, pair_kernel<Bytes>, LTH_QUAD_TUNING, LTH_QUAD_PAIR_TUNING, kByteShift};

}  // namespace
}  // namespace lth
