// The kernels, written once over a vector of LTH_LANES floats. Included by each isa_*.cpp, which sets LTH_LANES,
// LTH_ISA_NAME, LTH_MAX_ACC, LTH_TILE_W, LTH_MAX_RUN, LTH_PAIR_ACC and the tunings. Everything here is private to that
// file.
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
#include "isa_planes.inl"
#include "isa_fetch.inl"
#include "isa_lines.inl"
#include "isa_linear.inl"
#include "isa_bytes.inl"
#include "isa_byte_rows.inl"
#include "isa_byte_lines.inl"
#include "isa_gather.inl"
#include "isa_dispatch.inl"

constexpr ByteSums kByteSums = {LTH_ISA_NAME, single_kernel<Bytes>, pair_kernel<Bytes>, LTH_QUAD_TUNING, LTH_QUAD_PAIR_TUNING, kByteShift};

constexpr Isa kIsa = {
    LTH_ISA_NAME, kLanes,     LTH_MAX_ACC,    LTH_TILE_W,  LTH_MAX_RUN,  LTH_PAIR_ACC, single_kernel<Floats>,
    pair_kernel<Floats>,      pack_tile,      pack_run,    load_plane,   store_plane,  load_rows,
    store_rows,   max_pool,   resample,       interpolate, add_lines,    load_bytes,   store_bytes,
    quantize,     dequantize, add_bytes,      max_pool_bytes,            weighted_sum, &kByteSums,
    LTH_SINGLE_TUNING,        LTH_PAIR_TUNING};

}  // namespace
}  // namespace lth
