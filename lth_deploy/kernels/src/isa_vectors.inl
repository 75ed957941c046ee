// Vectors of LTH_LANES cells, and what is done to them everywhere.
// Part of isa_kernels.inl.

constexpr int kLanes = LTH_LANES;
constexpr int kGridY = kLanes / kGridX;
constexpr int kLine = kLanes * 4;  // bytes

typedef float F __attribute__((vector_size(LTH_LANES * 4)));
typedef int32_t I __attribute__((vector_size(LTH_LANES * 4)));
typedef float Q __attribute__((vector_size(16)));
typedef float QU __attribute__((vector_size(16), aligned(4)));

inline __attribute__((always_inline)) F broadcast(float x) { return x - F{}; }
inline __attribute__((always_inline)) F load_line(const void* p) { return *static_cast<const F*>(p); }
inline __attribute__((always_inline)) void store_line(void* p, F v) { *static_cast<F*>(p) = v; }
inline __attribute__((always_inline)) F larger(F x, F y) { return x > y ? x : y; }
inline __attribute__((always_inline)) F smaller(F x, F y) { return x < y ? x : y; }
inline __attribute__((always_inline)) I load_cells(const void* p) { return *static_cast<const I*>(p); }
inline __attribute__((always_inline)) void store_cells(void* p, I v) { *static_cast<I*>(p) = v; }
inline __attribute__((always_inline)) I broadcast_cell(uint32_t x) { return static_cast<int32_t>(x) - I{}; }
