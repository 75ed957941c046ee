// The kernels, written once over a vector of LTH_LANES floats. Included by each isa_*.cpp, which sets LTH_LANES,
// LTH_ISA_NAME, LTH_MAX_ACC, LTH_TILE_W, LTH_MAX_RUN, LTH_PAIR_ACC and the tunings. Everything here is private to that
// file.
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

template <int PITCH, int S, int TH, int TW>
RowsFn single_tile() {
  if constexpr (TH * TW <= LTH_MAX_ACC) return single_rows<TH, TW, PITCH, S>;
  return nullptr;
}

template <int PITCH, int S, int TW>
RowsFn single_height(int th) {
  switch (th) {
    case 1: return single_tile<PITCH, S, 1, TW>();
    case 2: return single_tile<PITCH, S, 2, TW>();
    case 3: return single_tile<PITCH, S, 3, TW>();
    case 4: return single_tile<PITCH, S, 4, TW>();
    case 5: return single_tile<PITCH, S, 5, TW>();
  }
  return nullptr;
}

template <int PITCH, int S, int TW>
RowsFn single_width(int th, int tw) {
  if (tw == TW) return single_height<PITCH, S, TW>(th);
  if constexpr (TW > 1) return single_width<PITCH, S, TW - 1>(th, tw);
  return nullptr;
}

template <int R>
RowsFn single_run(int count) {
  if (count == R) return single_rows<1, R, 0, 1>;
  if constexpr (R > 1) return single_run<R - 1>(count);
  return nullptr;
}

template <int PITCH, int S, int TW>
RowsFn pair_width(int tw) {
  if (tw == TW) return pair_rows<TW, PITCH, S>;
  if constexpr (TW > 1) return pair_width<PITCH, S, TW - 1>(tw);
  return nullptr;
}

constexpr int kPitch3 = LTH_TILE_W + 2, kPitch3Stride2 = 2 * LTH_TILE_W + 1, kPitch7Stride2 = 2 * LTH_TILE_W + 5;

RowsFn single_kernel(int family, int th, int tw) {
  switch (family) {
    case kTile3: return single_width<kPitch3, 1, LTH_TILE_W>(th, tw);
    case kTile3Stride2: return single_width<kPitch3Stride2, 2, LTH_TILE_W>(th, tw);
    case kTile7Stride2: return single_width<kPitch7Stride2, 2, LTH_TILE_W>(th, tw);
    case kRun: return th == 1 ? single_run<LTH_MAX_RUN>(tw) : nullptr;
  }
  return nullptr;
}

RowsFn pair_kernel(int family, int tw) {
  switch (family) {
    case kTile3: return pair_width<kPitch3, 1, LTH_TILE_W>(tw);
    case kTile3Stride2: return pair_width<kPitch3Stride2, 2, LTH_TILE_W>(tw);
    case kTile7Stride2: return pair_width<kPitch7Stride2, 2, LTH_TILE_W>(tw);
    case kRun: return pair_run;
  }
  return nullptr;
}

constexpr Isa kIsa = {LTH_ISA_NAME, kLanes,       LTH_MAX_ACC,  LTH_TILE_W, LTH_MAX_RUN, LTH_PAIR_ACC, single_kernel,
                      pair_kernel,  pack_tile,    pack_run,     load_plane, store_plane, load_rows,    store_rows,
                      max_pool,     resample,     add_lines,    LTH_SINGLE_TUNING, LTH_PAIR_TUNING};

}  // namespace
}  // namespace lth
