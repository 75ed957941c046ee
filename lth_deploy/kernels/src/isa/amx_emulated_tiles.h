// The same functions as isa/amx_tiles.h on plain arrays, for tests on processors without AMX.
// Included by isa/generic/dense_matrix.inl. Requires isa/generic/vectors.inl.

struct alignas(64) EmulatedTile {
  int32_t cell[16][16];
};
thread_local EmulatedTile emulated[8];
thread_local bool configured = false;

// Tiles may be used while an object of this class exists, and hold zeros at first.
class Tiles {
 public:
  Tiles() {
    configured = true;
    __builtin_memset(emulated, 0, sizeof emulated);
  }
  ~Tiles() { configured = false; }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

// As the processor, which refuses instructions on tiles that are not configured.
inline EmulatedTile& emulated_tile(int number) {
  if (!configured) __builtin_trap();
  return emulated[number];
}

template <int T>
void zero_tile() {
  __builtin_memset(emulated_tile(T).cell, 0, sizeof(EmulatedTile));
}

template <int T>
void load_tile(const void* from, size_t step) {
  EmulatedTile& tile = emulated_tile(T);
  for (int row = 0; row < 16; ++row) {
    __builtin_memcpy(tile.cell[row], static_cast<const char*>(from) + row * step, sizeof tile.cell[row]);
  }
}

template <int T>
void stream_tile(const void* from, size_t step) {
  load_tile<T>(from, step);
}

template <int T>
void store_tile(void* to, size_t step) {
  const EmulatedTile& tile = emulated_tile(T);
  for (int row = 0; row < 16; ++row) {
    __builtin_memcpy(static_cast<char*>(to) + row * step, tile.cell[row], sizeof tile.cell[row]);
  }
}

template <int C, int A, int B>
void multiply_bytes() {
  EmulatedTile& sums = emulated_tile(C);
  const EmulatedTile &weights = emulated_tile(A), &bytes = emulated_tile(B);
  for (int k = 0; k < 16; ++k) {
    const I x = load_cells(bytes.cell[k]);
    const I byte[4] = {x & 255, x >> 8 & 255, x >> 16 & 255, x >> 24 & 255};
    for (int row = 0; row < 16; ++row) {
      int8_t w[4];
      __builtin_memcpy(w, &weights.cell[row][k], sizeof w);
      const I sum = byte[0] * w[0] + byte[1] * w[1] + byte[2] * w[2] + byte[3] * w[3];
      store_cells(sums.cell[row], load_cells(sums.cell[row]) + sum);
    }
  }
}

// As the processor sums them: the products of odd channels and of even ones apart, from zero on, then both, then what was there.
template <int C, int A, int B>
void multiply_bf16() {
  constexpr int32_t kUpper = static_cast<int32_t>(0xffff0000u);
  EmulatedTile& sums = emulated_tile(C);
  const EmulatedTile &weights = emulated_tile(A), &lines = emulated_tile(B);
  for (int row = 0; row < 16; ++row) {
    F even_sum{}, odd_sum{};
    for (int k = 0; k < 16; ++k) {
      const I x = load_cells(lines.cell[k]), w = broadcast_cell(static_cast<uint32_t>(weights.cell[row][k]));
      even_sum += reinterpret_cast<F>(w << 16) * reinterpret_cast<F>(x << 16);
      odd_sum += reinterpret_cast<F>(w & kUpper) * reinterpret_cast<F>(x & kUpper);
    }
    const F added = even_sum + odd_sum;
    store_line(sums.cell[row], load_line(sums.cell[row]) + added);
  }
}
