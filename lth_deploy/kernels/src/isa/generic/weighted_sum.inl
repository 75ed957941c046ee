// Sums of vectors that lie anywhere, and of those of a matrix.
// Requires activations.inl.

template <int LINES>
inline __attribute__((always_inline)) void weighted_lines(const float* const* at, const float* weight, int n, int first,
                                                          float* out) {
  F sum[LINES] = {};
  for (int i = 0; i < n; ++i) {
    const F w = broadcast(weight[i]);
    const float* from = at[i] + first * kLanes;
#pragma GCC unroll 8
    for (int l = 0; l < LINES; ++l) sum[l] += w * load_line(from + l * kLanes);
  }
#pragma GCC unroll 8
  for (int l = 0; l < LINES; ++l) store_line(out + (first + l) * kLanes, sum[l]);
}

void weighted_sum(const float* const* at, const float* weight, int n, int lines, float* out) {
  int line = 0;
  for (; line + 8 <= lines; line += 8) weighted_lines<8>(at, weight, n, line, out);
  for (; line + 4 <= lines; line += 4) weighted_lines<4>(at, weight, n, line, out);
  for (; line < lines; ++line) weighted_lines<1>(at, weight, n, line, out);
}

// Lines of output channels of one pixel; x: that of every input channel.
void pixel_channels(const MatrixRow* weights, const MatrixRow* bias, const float* x, int inputs, int blocks,
                    const Finish& finish, float* out) {
  const float *w = reinterpret_cast<const float*>(weights), *b = reinterpret_cast<const float*>(bias);
  with_activation(finish, [&](auto act) {
    for (const float* const end = out + static_cast<size_t>(blocks) * kPixelLines * kLanes; out != end;) {
      F sum[kPixelLines];
      for (int k = 0; k < kPixelLines; ++k, b += kLanes) sum[k] = load_line(b);
      for (int i = 0; i < inputs; ++i) {
        const F v = broadcast(x[i]);
        for (int k = 0; k < kPixelLines; ++k, w += kLanes) sum[k] += load_line(w) * v;
      }
      for (int k = 0; k < kPixelLines; ++k, out += kLanes) store_line(out, act(sum[k]));
    }
  });
}
