// Instructions on the eight matrix tiles of AMX, each 16 rows of 64 bytes. Written in assembly, for which compilers need no
// flag, and because GCC 12's _tile_loadconfig and _tile_loadd say nothing of the memory that they read.
// Included by isa/generic/dense_matrix.inl. Requires nothing.

// Of the palette of eight tiles: 64 bytes, as LDTILECFG reads them.
struct TileConfiguration {
  uint8_t palette = 1, start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfiguration) == 64, "LDTILECFG reads 64 bytes");

// The tiles belong to the thread from here to the end of this object's life.
class Tiles {
 public:
  Tiles() {
    alignas(64) static constexpr TileConfiguration configuration{};
    __asm__ volatile("ldtilecfg %0" : : "m"(configuration));
  }
  ~Tiles() { __asm__ volatile("tilerelease" : : : "memory"); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

template <int T>
inline __attribute__((always_inline)) void zero_tile() {
  __asm__ volatile("tilezero %%tmm%c0" : : "i"(T));
}

// 16 rows, `step` bytes from one to the next.
template <int T>
inline __attribute__((always_inline)) void load_tile(const void* from, size_t step) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(step), "i"(T) : "memory");
}

// As load_tile, for what is read once: it leaves the L1 cache to others.
template <int T>
inline __attribute__((always_inline)) void stream_tile(const void* from, size_t step) {
  __asm__ volatile("tileloaddt1 (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(step), "i"(T) : "memory");
}

template <int T>
inline __attribute__((always_inline)) void store_tile(void* to, size_t step) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(step), "i"(T) : "memory");
}

// Integers of C += signed bytes of A times unsigned bytes of B, four by four.
template <int C, int A, int B>
inline __attribute__((always_inline)) void multiply_bytes() {
  __asm__ volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
}

// float32 of C += bf16 of A times bf16 of B, two by two.
template <int C, int A, int B>
inline __attribute__((always_inline)) void multiply_bf16() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
}
