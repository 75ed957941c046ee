// Sizes that all kernels for AVX2 share: those of int8 and bf16 work on the tiles that are packed for float32.
// macros.inl explains each.
#define LTH_LANES 8
#define LTH_MAX_ACC 12
#define LTH_TILE_W 6
#define LTH_MAX_RUN 12
#define LTH_PAIR_ACC 6
#define LTH_INT8_TUNING {.8, 0, {2.5, 12, 2.6, 0, 1.5, .35}}
#define LTH_INT8_PAIR_TUNING {.8, 0, {2.5, 12, 2.6, 0, 1.5, 0}}
