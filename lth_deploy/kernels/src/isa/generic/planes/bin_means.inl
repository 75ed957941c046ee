// Means of bins under a softmax over channels.
// Requires activations.inl.

// LINES neighboring lines. What is no number stays none: a channel that is NaN, and the largest of several infinite ones.
template <int LINES>
inline __attribute__((always_inline)) void bin_means_of(const BinMeans& job, int line) {
  const float* const x = job.x + static_cast<size_t>(line) * kLanes;
  F largest[LINES], total[LINES] = {}, sum[LINES] = {};
  for (int l = 0; l < LINES; ++l) largest[l] = load_line(x + l * kLanes);
  for (int b = 1; b < job.bins; ++b) {
    for (int l = 0; l < LINES; ++l) largest[l] = larger(largest[l], load_line(x + b * job.channel_cells + l * kLanes));
  }
  for (int b = 0; b < job.bins; ++b) {
    const F value = broadcast(job.values[b]);
    for (int l = 0; l < LINES; ++l) {
      const F away = load_line(x + b * job.channel_cells + l * kLanes) - largest[l];
      const F power = away == away ? exponential(away) : away;
      total[l] += power;
      sum[l] += power * value;
    }
  }
  for (int l = 0; l < LINES; ++l) store_line(job.out + static_cast<size_t>(line + l) * kLanes, sum[l] / total[l]);
}

void bin_means(const BinMeans& job) {
  int line = 0;
  for (; line + 4 <= job.lines; line += 4) bin_means_of<4>(job, line);
  for (; line < job.lines; ++line) bin_means_of<1>(job, line);
}
