// The kernels, written once over a vector of LTH_LANES floats. Included by each isa_*.cpp, which sets LTH_LANES,
// LTH_ISA_NAME, LTH_MAX_ACC, LTH_TILE_W, LTH_MAX_RUN and LTH_PAIR_ACC. Everything here is private to that file.
#include "isa.h"

namespace lth {
namespace {

constexpr int kLanes = LTH_LANES;
constexpr int kGridY = kLanes / kGridX;
constexpr int kLine = kLanes * 4;  // bytes

typedef float F __attribute__((vector_size(LTH_LANES * 4)));
typedef int32_t I __attribute__((vector_size(LTH_LANES * 4)));
typedef float Q __attribute__((vector_size(16)));
typedef float QU __attribute__((vector_size(16), aligned(4)));

inline __attribute__((always_inline)) F broadcast(float x) { return x - F{}; }
inline __attribute__((always_inline)) F load_line(const void* p) { return *static_cast<const F*>(p); }
inline __attribute__((always_inline)) void store_line(void* p, F v) { *static_cast<F*>(p) = v; }
inline __attribute__((always_inline)) F larger(F x, F y) { return x > y ? x : y; }
inline __attribute__((always_inline)) F smaller(F x, F y) { return x < y ? x : y; }

#include "isa_rows.inl"
#include "isa_lines.inl"

RowsFn single_kernel(int family, int th, int tw, int mode);
RowsFn pair_kernel(int family, int tw, int mode);

template <int PITCH, int S, int TH, int TW>
RowsFn single_mode(int mode) {
  if constexpr (TH * TW > LTH_MAX_ACC) {
    return nullptr;
  } else {
    constexpr RowsFn kernels[4] = {single_rows<TH, TW, PITCH, S, false, false>, single_rows<TH, TW, PITCH, S, true, false>,
                                   single_rows<TH, TW, PITCH, S, false, true>, single_rows<TH, TW, PITCH, S, true, true>};
    return kernels[mode];
  }
}

template <int PITCH, int S, int TW>
RowsFn single_height(int th, int mode) {
  switch (th) {
    case 1: return single_mode<PITCH, S, 1, TW>(mode);
    case 2: return single_mode<PITCH, S, 2, TW>(mode);
    case 3: return single_mode<PITCH, S, 3, TW>(mode);
    case 4: return single_mode<PITCH, S, 4, TW>(mode);
    case 5: return single_mode<PITCH, S, 5, TW>(mode);
  }
  return nullptr;
}

template <int PITCH, int S, int TW>
RowsFn single_width(int th, int tw, int mode) {
  if (tw == TW) return single_height<PITCH, S, TW>(th, mode);
  if constexpr (TW > 1) return single_width<PITCH, S, TW - 1>(th, tw, mode);
  return nullptr;
}

template <int R>
RowsFn single_run(int count, int mode) {
  if (count == R) return single_mode<0, 1, 1, R>(mode);
  if constexpr (R > 1) return single_run<R - 1>(count, mode);
  return nullptr;
}

template <int PITCH, int S, int TW>
RowsFn pair_width(int tw, int mode) {
  if (tw == TW) {
    constexpr RowsFn kernels[4] = {pair_rows<TW, PITCH, S, false, false>, pair_rows<TW, PITCH, S, true, false>,
                                   pair_rows<TW, PITCH, S, false, true>, pair_rows<TW, PITCH, S, true, true>};
    return kernels[mode];
  }
  if constexpr (TW > 1) return pair_width<PITCH, S, TW - 1>(tw, mode);
  return nullptr;
}

constexpr int kPitch3 = LTH_TILE_W + 2, kPitch3Stride2 = 2 * LTH_TILE_W + 1, kPitch7Stride2 = 2 * LTH_TILE_W + 5;

RowsFn single_kernel(int family, int th, int tw, int mode) {
  switch (family) {
    case kTile3: return single_width<kPitch3, 1, LTH_TILE_W>(th, tw, mode);
    case kTile3Stride2: return single_width<kPitch3Stride2, 2, LTH_TILE_W>(th, tw, mode);
    case kTile7Stride2: return single_width<kPitch7Stride2, 2, LTH_TILE_W>(th, tw, mode);
    case kRun: return th == 1 ? single_run<LTH_MAX_RUN>(tw, mode) : nullptr;
  }
  return nullptr;
}

RowsFn pair_kernel(int family, int tw, int mode) {
  switch (family) {
    case kTile3: return pair_width<kPitch3, 1, LTH_TILE_W>(tw, mode);
    case kTile3Stride2: return pair_width<kPitch3Stride2, 2, LTH_TILE_W>(tw, mode);
    case kTile7Stride2: return pair_width<kPitch7Stride2, 2, LTH_TILE_W>(tw, mode);
    case kRun: {
      constexpr RowsFn kernels[4] = {pair_run<false, false>, pair_run<true, false>, pair_run<false, true>,
                                     pair_run<true, true>};
      return kernels[mode];
    }
  }
  return nullptr;
}

constexpr Isa kIsa = {LTH_ISA_NAME, kLanes,       LTH_MAX_ACC,  LTH_TILE_W, LTH_MAX_RUN, LTH_PAIR_ACC, single_kernel,
                      pair_kernel,  pack_tile,    pack_run,     load_plane, store_plane, load_rows,    store_rows,
                      max_pool,     resample,     add_lines};

}  // namespace
}  // namespace lth
