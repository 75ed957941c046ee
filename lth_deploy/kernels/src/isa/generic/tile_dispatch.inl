// Which inner loop suits a tile.
// Requires conv_rows.inl; the macros LTH_MAX_ACC, LTH_TILE_W, LTH_MAX_RUN, LTH_PAIR_ACC.

template <class T, int PITCH, int S, int TH, int TW>
RowsFn single_tile() {
  if constexpr (TH * TW <= LTH_MAX_ACC) return single_rows<T, TH, TW, PITCH, S>;
  return nullptr;
}

template <class T, int PITCH, int S, int TW>
RowsFn single_height(int th) {
  switch (th) {
    case 1: return single_tile<T, PITCH, S, 1, TW>();
    case 2: return single_tile<T, PITCH, S, 2, TW>();
    case 3: return single_tile<T, PITCH, S, 3, TW>();
    case 4: return single_tile<T, PITCH, S, 4, TW>();
    case 5: return single_tile<T, PITCH, S, 5, TW>();
  }
  return nullptr;
}

template <class T, int PITCH, int S, int TW>
RowsFn single_width(int th, int tw) {
  if (tw == TW) return single_height<T, PITCH, S, TW>(th);
  if constexpr (TW > 1) return single_width<T, PITCH, S, TW - 1>(th, tw);
  return nullptr;
}

template <class T, int R>
RowsFn single_run(int count) {
  if (count == R) return single_rows<T, 1, R, 0, 1>;
  if constexpr (R > 1) return single_run<T, R - 1>(count);
  return nullptr;
}

template <class T, int PITCH, int S, int TW>
RowsFn pair_width(int tw) {
  if (tw == TW) return pair_rows<T, TW, PITCH, S>;
  if constexpr (TW > 1) return pair_width<T, PITCH, S, TW - 1>(tw);
  return nullptr;
}

constexpr int kPitch3 = LTH_TILE_W + 2, kPitchStride2 = 2 * LTH_TILE_W + 5;

template <class T>
RowsFn single_kernel(int family, int th, int tw) {
  switch (family) {
    case kTile3: return single_width<T, kPitch3, 1, LTH_TILE_W>(th, tw);
    case kTile3Stride2:
    case kTile7Stride2: return single_width<T, kPitchStride2, 2, LTH_TILE_W>(th, tw);
    case kRun: return th == 1 ? single_run<T, LTH_MAX_RUN>(tw) : nullptr;
  }
  return nullptr;
}

template <class T>
RowsFn pair_kernel(int family, int tw) {
  switch (family) {
    case kTile3: return pair_width<T, kPitch3, 1, LTH_TILE_W>(tw);
    case kTile3Stride2:
    case kTile7Stride2: return pair_width<T, kPitchStride2, 2, LTH_TILE_W>(tw);
    case kRun: return pair_run<T>;
  }
  return nullptr;
}
