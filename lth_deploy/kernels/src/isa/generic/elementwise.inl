// Operators of float32 that take each line by itself.
// Requires activations.inl.

// made(i), the line at cell i, and its activation.
template <class Made>
inline __attribute__((always_inline)) void each_line(size_t cells, const Finish& finish, float* out, const Made& made) {
  with_activation(finish, [&](auto act) {
    for (size_t i = 0; i < cells; i += kLanes) store_line(out + i, act(made(i)));
  });
}

void add_lines(const float* x, const float* y, size_t cells, const Finish& finish, float* out) {
  if (y == nullptr) return each_line(cells, finish, out, [&](size_t i) { return load_line(x + i); });
  each_line(cells, finish, out, [&](size_t i) { return load_line(x + i) + load_line(y + i); });
}

void subtract_lines(const float* x, const float* y, size_t cells, const Finish& finish, float* out) {
  each_line(cells, finish, out, [&](size_t i) { return load_line(x + i) - load_line(y + i); });
}

void multiply_lines(const float* x, const float* y, size_t cells, const Finish& finish, float* out) {
  each_line(cells, finish, out, [&](size_t i) { return load_line(x + i) * load_line(y + i); });
}

void scale_lines(const float* x, float factor, float shift, size_t cells, const Finish& finish, float* out) {
  const F f = broadcast(factor), s = broadcast(shift);
  each_line(cells, finish, out, [&](size_t i) { return load_line(x + i) * f + s; });
}
