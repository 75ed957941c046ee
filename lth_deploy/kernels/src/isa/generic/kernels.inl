// The kernels of one instruction set, written once over a vector of LTH_LANES floats. Included by the files of isa/, which
// set the macros that macros.inl lists. Everything here is private to the file that includes it. The order of the
// includes matters: each file says in its first lines which ones it requires.
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
#include "isa/generic/planes/pixel_rows.inl"
#include "isa/generic/layout_conversion.inl"
#include "isa/generic/window_reads.inl"
#include "isa/generic/tile_packing.inl"
#include "isa/generic/elementwise.inl"
#include "isa/generic/bilinear.inl"
#include "isa/generic/bf16/rounding.inl"
#include "isa/generic/bf16/products.inl"
#include "isa/generic/int8_vectors.inl"
#include "isa/generic/int8_epilogue.inl"
#include "isa/generic/depthwise/quantized.inl"
#include "isa/generic/int8_elementwise.inl"
#include "isa/generic/byte_table.inl"
#include "isa/generic/planes/max_pool.inl"
#include "isa/generic/weighted_sum.inl"
#include "isa/generic/depthwise/floats.inl"
#include "isa/generic/depthwise/rows.inl"
#include "isa/generic/planes/plane_sum.inl"
#include "isa/generic/planes/quantized_means.inl"
#include "isa/generic/normalization.inl"
#include "isa/generic/planes/bin_means.inl"
#include "isa/generic/planes/turned_planes.inl"
#include "isa/generic/tile_dispatch.inl"

constexpr Int8Kernels kInt8Kernels = {LTH_ISA_NAME,         single_kernel<Int8>,    pair_kernel<Int8>,
                                      LTH_INT8_TUNING, LTH_INT8_PAIR_TUNING, depthwise_quantized, kByteShift};

constexpr Bf16Kernels kBf16Kernels = {single_kernel<Bfloat16>, pair_kernel<Bfloat16>, LTH_INT8_TUNING, LTH_INT8_PAIR_TUNING,
                                      join_channels};

constexpr Isa kIsa = {
    LTH_ISA_NAME, kLanes,     LTH_MAX_ACC,    LTH_TILE_W,  LTH_MAX_RUN,  LTH_PAIR_ACC, single_kernel<Float32>,
    pair_kernel<Float32>,      pack_tile,      pack_run,    load_plane,   store_plane,  load_rows,
    store_rows,   max_pool,   resample,       interpolate, add_lines,    load_quantized,   store_quantized,
    quantize,     dequantize, add_quantized, add_activated, multiply_activated, gate_quantized, sum_quantized,
    average_quantized, look_up,      assemble,    max_pool_quantized, weighted_sum,
    depthwise,    depthwise_rows, turn,   turn_back,     depthwise_turned,
    subtract_lines, multiply_lines, scale_lines, pixel_channels, sum_plane, normalize_lines, bin_means,
    &kInt8Kernels, &kBf16Kernels,
    LTH_SINGLE_TUNING,        LTH_PAIR_TUNING};

}  // namespace
}  // namespace lth
