// Operators on quantized tensors besides convolutions: to and from float32, additions, cells of others, pools.
// Requires layout_conversion.inl, tile_packing.inl, int8_epilogue.inl.

constexpr int kSome = 16;  // lines that are converted at a time

// x / scale with the bits of a division, as ONNX Runtime has it, up to kMostSteps; beyond, all bytes are the same. The product with
// the rounded reciprocal is corrected by what it leaves of x, which one multiply-add gives exactly; then so is the quotient
// (Markstein). What is no number leaves none. Scales lie far from where anything underflows. A division takes five times as long.
class StepsOf {
 public:
  explicit StepsOf(float scale) : scale_(broadcast(scale)), reciprocal_(broadcast(1.f / scale)) {}

  inline __attribute__((always_inline)) F operator()(F x) const {
#if defined(__FMA__) || defined(__aarch64__)
    const F near = smaller(larger(x * reciprocal_, broadcast(-kMostSteps)), broadcast(kMostSteps));
    return near + (x - near * scale_) * reciprocal_;
#else
    return x / scale_;
#endif
  }

 private:
  static constexpr float kMostSteps = 4096.f;
  F scale_, reciprocal_;
};

// (x / scale), rounded, + zero.
void quantize(const float* lines, size_t channel_cells, int channels, size_t cells, const Quantization& q, uint32_t* out) {
  const StepsOf steps(q.scale);
  for (size_t i = 0; i < cells; i += kLanes) {
    F v[4];
    for (int k = 0; k < 4; ++k) v[k] = k < channels ? steps(load_line(lines + k * channel_cells + i)) : F{};
    store_cells(out + i, join(v[0], v[1], v[2], v[3], q.zero_point));
  }
}

template <int K>
inline void dequantize_channel(const uint32_t* lines, size_t cells, const Quantization& q, float* out) {
  const F scale = broadcast(q.scale), zero = broadcast(static_cast<float>(q.zero_point));
  for (size_t i = 0; i < cells; i += kLanes) {
    store_line(out + i, (byte_of<K>(load_cells(lines + i)) - zero) * scale);
  }
}

void dequantize(const uint32_t* lines, size_t cells, const Quantization& q, float* out, size_t channel_cells, int channels) {
  dequantize_channel<0>(lines, cells, q, out);
  if (channels > 1) dequantize_channel<1>(lines, cells, q, out + channel_cells);
  if (channels > 2) dequantize_channel<2>(lines, cells, q, out + 2 * channel_cells);
  if (channels > 3) dequantize_channel<3>(lines, cells, q, out + 3 * channel_cells);
}

void load_quantized(const Pixels* channel, int channels, const PlaneShape& s, const Quantization& q, uint32_t* lines) {
  alignas(64) float some[4][kSome * kLanes];
  for (int y = 0; y < s.h; ++y) {
    for (int x = 0; x < s.w; x += kSome) {
      const int end = x + kSome < s.w ? x + kSome : s.w;
      for (int k = 0; k < channels; ++k) load_row(channel[k], s, y, x, end, some[k]);
      quantize(some[0], kSome * kLanes, channels, static_cast<size_t>(end - x) * kLanes, q,
               lines + (static_cast<size_t>(y) * s.w + x) * kLanes);
    }
  }
}

// One channel of 4 pixels in each row of the lane grid, `step` floats from one to the next.
template <int K>
inline __attribute__((always_inline)) void store_channel(I cells, F scale, F zero, int rows, size_t step, float* to) {
  const F v = (byte_of<K>(cells) - zero) * scale;
  store_grid_rows(reinterpret_cast<I>(v), rows, step, 4, to);
}

void store_quantized_line(const uint32_t* line, const PlaneShape& s, int y, int x, const Quantization& q, float* nchw,
                         size_t pixels, int channels) {
  for (int l = 0; l < kLanes; ++l) {
    const int row = l / kGridX * s.h + y, column = l % kGridX * s.w + x;
    if (row >= s.H || column >= s.W) continue;
    float* const to = nchw + static_cast<size_t>(row) * s.W + column;
    for (int k = 0; k < channels; ++k) {
      const int byte = static_cast<int>(line[l] >> 8 * k & 255);
      to[k * pixels] = static_cast<float>(byte - q.zero_point) * q.scale;
    }
  }
}

// What the rows of pixels of row y of the lane grid will be written to: each begins new lines of memory, and few stores wait
// for theirs at a time.
inline void prefetch_rows(const PlaneShape& s, int y, float* nchw, size_t pixels, int channels) {
  if (y >= s.h) return;
  for (int k = 0; k < channels; ++k) {
    for (int ly = 0; ly < rows_with(s, y); ++ly) {
      float* const row = nchw + k * pixels + (static_cast<size_t>(ly) * s.h + y) * s.W;
      for (int x = 0; x < s.W; x += 16) __builtin_prefetch(row + x, 1);
    }
  }
}

void store_quantized(const uint32_t* lines, const PlaneShape& s, const Quantization& q, float* nchw, size_t pixels, int channels) {
  const F scale = broadcast(q.scale), zero = broadcast(static_cast<float>(q.zero_point));
  for (int y = 0; y < s.h; ++y) {
    const int rows = rows_with(s, y);
    prefetch_rows(s, y + 1, nchw, pixels, channels);
    for (int x = 0; x < s.w;) {
      const uint32_t* const from = lines + (static_cast<size_t>(y) * s.w + x) * kLanes;
      if (!four_columns(s, x)) {
        store_quantized_line(from, s, y, x, q, nchw, pixels, channels);
        ++x;
        continue;
      }
      I v[4];
      for (int i = 0; i < 4; ++i) v[i] = load_cells(from + i * kLanes);
      transpose_cells(v);
      for (int lx = 0; lx < kGridX; ++lx) {
        float* const to = nchw + static_cast<size_t>(y) * s.W + lx * s.w + x;
        const size_t step = static_cast<size_t>(s.h) * s.W;
        store_channel<0>(v[lx], scale, zero, rows, step, to);
        if (channels > 1) store_channel<1>(v[lx], scale, zero, rows, step, to + pixels);
        if (channels > 2) store_channel<2>(v[lx], scale, zero, rows, step, to + 2 * pixels);
        if (channels > 3) store_channel<3>(v[lx], scale, zero, rows, step, to + 3 * pixels);
      }
      x += 4;
    }
  }
}

template <int K>
inline __attribute__((always_inline)) F added(I x, I y, const Requantize& q) {
  F v = byte_of<K>(x) * broadcast(q.scale) + broadcast(q.offset) + byte_of<K>(y) * broadcast(q.add_scale);
  if (q.finish.epilogue != Epilogue::kNone) v = activate(v, q.finish) * broadcast(q.to_steps);
  return v;
}

void add_quantized(const uint32_t* x, const uint32_t* y, size_t cells, const Requantize& q, uint32_t* out) {
  const B low = uint8_bound(q.low), high = uint8_bound(q.high);
  for (size_t i = 0; i < cells; i += kLanes) {
    const I a = load_cells(x + i), b = load_cells(y + i);
    const I made = join(added<0>(a, b, q), added<1>(a, b, q), added<2>(a, b, q), added<3>(a, b, q), q.zero_point);
    store_cells(out + i, between(made, low, high));
  }
}

void add_activated(const uint32_t* x, const uint32_t* y, size_t cells, const Requantize& q, uint32_t* out) {
  const F scale = broadcast(q.scale), offset = broadcast(q.offset), steps = broadcast(q.to_steps);
  const F of_y = broadcast(q.add_scale), zero = broadcast(q.add_zero);
  with_activation(q.finish, [&](auto act) {
    const auto sum = [&](F a, F b) { return act((b - zero) * of_y) * steps + (a * scale + offset); };
    for (size_t i = 0; i < cells; i += kLanes) {
      const I a = load_cells(x + i), b = load_cells(y + i);
      store_cells(out + i, join(sum(byte_of<0>(a), byte_of<0>(b)), sum(byte_of<1>(a), byte_of<1>(b)),
                                sum(byte_of<2>(a), byte_of<2>(b)), sum(byte_of<3>(a), byte_of<3>(b)), q.zero_point));
    }
  });
}

// made(byte k of the cells, k) for all four.
template <class Made>
inline __attribute__((always_inline)) I join_bytes(I x, int32_t zero, const Made& made) {
  return join(made(byte_of<0>(x), 0), made(byte_of<1>(x), 1), made(byte_of<2>(x), 2), made(byte_of<3>(x), 3), zero);
}

void multiply_activated(const uint32_t* x, const uint32_t* y, size_t cells, const Requantize& q, uint32_t* out) {
  const F scale = broadcast(q.scale), offset = broadcast(q.offset), steps = broadcast(q.to_steps);
  const F of_y = broadcast(q.add_scale), zero = broadcast(q.add_zero);
  with_activation(q.finish, [&](auto act) {
    const auto product = [&](F a, F b) { return (a + offset) * scale * act((b - zero) * of_y) * steps; };
    for (size_t i = 0; i < cells; i += kLanes) {
      const I a = load_cells(x + i), b = load_cells(y + i);
      store_cells(out + i, join(product(byte_of<0>(a), byte_of<0>(b)), product(byte_of<1>(a), byte_of<1>(b)),
                                product(byte_of<2>(a), byte_of<2>(b)), product(byte_of<3>(a), byte_of<3>(b)), q.zero_point));
    }
  });
}

void gate_quantized(const uint32_t* x, const float* factors, size_t cells, const Requantize& q, uint32_t* out) {
  const F scale = broadcast(q.add_scale), zero = broadcast(q.add_zero), steps = broadcast(q.to_steps);
  const F factor[4] = {broadcast(factors[0]), broadcast(factors[1]), broadcast(factors[2]), broadcast(factors[3])};
  with_activation(q.finish, [&](auto act) {
    for (size_t i = 0; i < cells; i += kLanes) {
      store_cells(out + i, join_bytes(load_cells(x + i), q.zero_point,
                                      [&](F b, int k) { return act((b - zero) * scale) * factor[k] * steps; }));
    }
  });
}

void assemble(const BytePiece* pieces, int n, size_t cells, uint32_t* out) {
  typedef uint32_t U __attribute__((vector_size(LTH_LANES * 4)));
  for (size_t i = 0; i < cells; i += kLanes) {
    U made{};
    for (const BytePiece* piece = pieces; piece < pieces + n; ++piece) {
      const uint32_t mask = 0xffffffffu >> 8 * (4 - piece->count);
      const U line = reinterpret_cast<U>(load_cells(piece->source + i));
      made |= (line >> 8 * piece->from & mask) << 8 * piece->to;
    }
    store_cells(out + i, reinterpret_cast<I>(made));
  }
}
