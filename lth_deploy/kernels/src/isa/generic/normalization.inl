// Normalization over the channels of each cell.
// Requires activations.inl.

// LINES neighboring lines. The mean comes first: the sum of squares loses what a large mean hides.
template <int LINES>
inline __attribute__((always_inline)) void normalize_some(const Normalize& job, int line) {
  const float* const x = job.x + static_cast<size_t>(line) * kLanes;
  float* const out = job.out + static_cast<size_t>(line) * kLanes;
  const F share = broadcast(1.f / static_cast<float>(job.channels));
  F mean[LINES] = {}, power[LINES] = {};
  for (int c = 0; c < job.channels; ++c) {
    for (int l = 0; l < LINES; ++l) mean[l] += load_line(x + c * job.channel_cells + l * kLanes);
  }
  for (int l = 0; l < LINES; ++l) mean[l] *= share;
  for (int c = 0; c < job.channels; ++c) {
    for (int l = 0; l < LINES; ++l) {
      const F away = load_line(x + c * job.channel_cells + l * kLanes) - mean[l];
      power[l] += away * away;
    }
  }
  for (int l = 0; l < LINES; ++l) {
    power[l] = power[l] * share + broadcast(job.epsilon);
    for (int k = 0; k < kLanes; ++k) power[l][k] = 1.f / __builtin_sqrtf(power[l][k]);
  }
  with_activation(job.finish, [&](auto act) {
    for (int c = 0; c < job.channels; ++c) {
      const F factor = broadcast(job.factor == nullptr ? 1.f : job.factor[c]);
      const F shift = broadcast(job.shift == nullptr ? 0.f : job.shift[c]);
      for (int l = 0; l < LINES; ++l) {
        const F away = load_line(x + c * job.channel_cells + l * kLanes) - mean[l];
        store_line(out + c * job.out_channel_cells + l * kLanes, act(away * power[l] * factor + shift));
      }
    }
  });
}

void normalize_lines(const Normalize& job) {
  int line = 0;
  for (; line + 4 <= job.lines; line += 4) normalize_some<4>(job, line);
  for (; line < job.lines; ++line) normalize_some<1>(job, line);
}
