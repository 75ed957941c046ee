// Sizes that all kernels for AVX-512 share: those of int8 and bf16 work on the tiles that are packed for float32.
// macros.inl explains each.
#define LTH_LANES 16
#define LTH_PREFETCH_DURING_MACS
#define LTH_MAX_ACC 25
#define LTH_TILE_W 5
#define LTH_MAX_RUN 12
#define LTH_PAIR_ACC 12
#define LTH_INT8_TUNING {1.1, 0, {1, 3, 1.3, .03, 6, .35}, true}
#define LTH_INT8_PAIR_TUNING {.8, .2, {.8, 10, 2.3, 0, 6, 0}, true}
