// Depthwise convolutions of float32: every tap multiplies a scalar by the lines that lie one stride apart; or a line, where
// the lanes of all lines are channels.
// Requires conv_rows.inl; the macro LTH_MAX_ACC.

struct PlaneWeights {
  static constexpr int kStep = 1;
  static inline __attribute__((always_inline)) F line(const uint32_t* value) { return Float32::spread(value); }
};

struct ChannelWeights {
  static constexpr int kStep = kLanes;
  static inline __attribute__((always_inline)) F line(const uint32_t* values) { return load_line(values); }
};

constexpr int kMaxDepthwiseW = LTH_MAX_ACC < 8 ? LTH_MAX_ACC : 8;

// TH x TW lines of the output. S: columns of the source from one output line to the next, where it is known; else 0.
template <class W, int TH, int TW, int S>
inline __attribute__((always_inline)) void depthwise_block(const DepthwisePlane& a, const char* source, float* out,
                                                           const float* add) {
  const size_t row = static_cast<size_t>(a.pitch) * kLine, step = S != 0 ? S * kLine : a.sw * size_t{kLine};
  const uint32_t* weight = a.weight;
  F acc[TH * TW];
  const F bias = W::line(a.bias);
#pragma GCC unroll 32
  for (int i = 0; i < TH * TW; ++i) acc[i] = bias;
  for (int ky = 0; ky < a.kh; ++ky, source += a.dh * row) {
    const char* tap = source;
    for (int kx = 0; kx < a.kw; ++kx, weight += W::kStep, tap += a.dw * kLine) {
      const F w = W::line(weight);
      const char* from = tap;
#pragma GCC unroll 8
      for (int i = 0; i < TH; ++i, from += a.sh * row) {
        LTH_IN_REGISTER(from);
#pragma GCC unroll 32
        for (int j = 0; j < TW; ++j) {
          acc[i * TW + j] += w * load_line(from + j * step);
          LTH_LOAD_NO_FURTHER(i * TW + j);
        }
      }
    }
  }
  write_out<TH, TW>(acc, a, out, add);
  if (needs_second_pass(a.finish)) Float32::finish_stored(out, TH, TW, a.out_pitch, a.finish);
}

// TW columns of the output from column x on, as many rows at a time as there are accumulators for.
template <class W, int S, int TW>
__attribute__((noinline)) void depthwise_columns(const DepthwisePlane& a, int x) {
  constexpr int kRows = TW * 4 <= LTH_MAX_ACC ? 4 : TW * 2 <= LTH_MAX_ACC ? 2 : 1;
  const char* const source = reinterpret_cast<const char*>(a.source) + static_cast<size_t>(x) * a.sw * kLine;
  const size_t row = static_cast<size_t>(a.pitch) * a.sh * kLine;
  for (int y = 0; y < a.th;) {
    const size_t to = (static_cast<size_t>(y) * a.out_pitch + x) * kLanes;
    const float* const add = a.add != nullptr ? a.add + to : nullptr;
    if (kRows >= 4 && a.th - y >= 4) {
      depthwise_block<W, kRows, TW, S>(a, source + y * row, a.out + to, add);
      y += kRows;
    } else if (kRows >= 2 && a.th - y >= 2) {
      depthwise_block<W, kRows >= 2 ? 2 : 1, TW, S>(a, source + y * row, a.out + to, add);
      y += 2;
    } else {
      depthwise_block<W, 1, TW, S>(a, source + y * row, a.out + to, add);
      y += 1;
    }
  }
}

template <class W, int S, int TW>
inline void depthwise_width(const DepthwisePlane& a, int x, int width) {
  if (width == TW) return depthwise_columns<W, S, TW>(a, x);
  if constexpr (TW > 1) depthwise_width<W, S, TW - 1>(a, x, width);
}

template <class W>
void depthwise_plane(const DepthwisePlane& a) {
  if (a.sw > 2) {
    for (int x = 0; x < a.tw; ++x) depthwise_columns<W, 0, 1>(a, x);
    return;
  }
  for (int x = 0, parts = (a.tw + kMaxDepthwiseW - 1) / kMaxDepthwiseW; parts > 0; --parts) {
    const int width = (a.tw - x + parts - 1) / parts;
    if (a.sw == 1) {
      depthwise_width<W, 1, kMaxDepthwiseW>(a, x, width);
    } else {
      depthwise_width<W, 2, kMaxDepthwiseW>(a, x, width);
    }
    x += width;
  }
}

void depthwise(const DepthwisePlane& a) { depthwise_plane<PlaneWeights>(a); }

void depthwise_turned(const DepthwisePlane& a) { depthwise_plane<ChannelWeights>(a); }
