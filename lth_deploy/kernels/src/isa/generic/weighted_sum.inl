// Sums of vectors that lie anywhere.
// Requires vectors.inl.

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
