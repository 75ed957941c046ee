// The kernels that multiply int8 weights, for instruction sets that otherwise have the kernels of another: they work on the
// same tiles. Included by the files of isa/, which set the macros that macros.inl lists.
#include "isa/generic/macros.inl"
#include "isa/isa.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace lth {
namespace {

#include "isa/generic/vectors.inl"
#include "isa/generic/activations.inl"
#include "isa/generic/conv_rows.inl"
#include "isa/generic/int8_vectors.inl"
#include "isa/generic/int8_epilogue.inl"
#include "isa/generic/depthwise/quantized.inl"
#include "isa/generic/tile_dispatch.inl"

constexpr Int8Kernels kInt8Kernels = {LTH_ISA_NAME,         single_kernel<Int8>,    pair_kernel<Int8>,
                                      LTH_INT8_TUNING, LTH_INT8_PAIR_TUNING, depthwise_quantized, kByteShift};

}  // namespace
}  // namespace lth
