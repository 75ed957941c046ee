// The kernels that multiply bf16 weights, for instruction sets that otherwise have the kernels of another: they work on the
// same tiles. Included by the files of isa/, which set the macros that macros.inl lists.
#include "isa/generic/macros.inl"
#include "isa/isa.h"

#include <immintrin.h>

namespace lth {
namespace {

#include "isa/generic/vectors.inl"
#include "isa/generic/activations.inl"
#include "isa/generic/conv_rows.inl"
#include "isa/generic/window_reads.inl"
#include "isa/generic/bf16/rounding.inl"
#include "isa/generic/bf16/products.inl"
#include "isa/generic/tile_dispatch.inl"

[[maybe_unused]] void finish_four_rows(const Rows&, int) {}  // of int8, which the loops here never take

constexpr Bf16Kernels kBf16Kernels = {single_kernel<Bfloat16>, pair_kernel<Bfloat16>, LTH_INT8_TUNING, LTH_INT8_PAIR_TUNING,
                                      join_channels};

}  // namespace
}  // namespace lth
