// Sizes that all kernels for NEON share: those of int8 and bf16 work on the tiles that are packed for float32.
// macros.inl explains each.
#define LTH_LANES 4
#define LTH_MAX_ACC 20
#define LTH_TILE_W 5
#define LTH_MAX_RUN 20
#define LTH_PAIR_ACC 10
#define LTH_INT8_TUNING {.57, 0, {2.5, 12, 2.6, 0, 1.5, 0}}
#define LTH_INT8_PAIR_TUNING {.8, 0, {2.5, 12, 2.6, 0, 1.5, 0}}
