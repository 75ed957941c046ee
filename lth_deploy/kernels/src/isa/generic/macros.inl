// All macros of the kernels. A file of isa/ sets them, in part by a file of isa/sizes, before it includes kernels.inl,
// int8_only.inl, bf16_only.inl or dense_matrix.inl. This file refuses a set that is not complete.
//
// LTH_ISA_NAME            name of the instruction set, as LTH_ISA and `lth-deploy checks` have it
// LTH_LANES               floats of a vector: 4, 8 or 16; dense_matrix.inl sets it to 16 itself
//
// kernels.inl, int8_only.inl and bf16_only.inl:
// LTH_MAX_ACC             accumulators of single rows: a tile has at most so many lines
// LTH_TILE_W              widest tile, in lines; fixes the pitch of packed tiles
// LTH_MAX_RUN             longest run, in lines
// LTH_PAIR_ACC            accumulators for each row where two rows share their records
// LTH_INT8_TUNING         the Tuning (isa.h) of single rows of int8 and of bf16 weights
// LTH_INT8_PAIR_TUNING    ... of pairs of rows of int8 and of bf16 weights
// LTH_PREFETCH_DURING_MACS  defined where lines are prefetched between multiply-adds, which needs long rows
//
// kernels.inl alone:
// LTH_SINGLE_TUNING       the Tuning of single rows of float32
// LTH_PAIR_TUNING         ... of pairs of rows of float32
//
// dense_matrix.inl alone:
// LTH_TILES               header with the instructions on matrix tiles
//
// Private to one file: LTH_IN_REGISTER, LTH_LOAD_NO_FURTHER, LTH_LOADED_ONCE (conv_rows.inl), LTH_ZIP4 (int8_vectors.inl).
//
// Set by CMake: LTH_NO_AMX (amx.cpp: the assembler does not know AMX) and LTH_EMULATE_AVX512 (dispatch.cpp: the kernels of
// 16 lanes were compiled for AVX2). LTH_ISA, LTH_TUNING and LTH_PROFILE are environment variables, read when a session is
// created.

#if !defined(LTH_ISA_NAME) || !defined(LTH_LANES)
#error "set LTH_ISA_NAME and LTH_LANES"
#endif
#ifndef LTH_TILES
#if !defined(LTH_MAX_ACC) || !defined(LTH_TILE_W) || !defined(LTH_MAX_RUN) || !defined(LTH_PAIR_ACC)
#error "set LTH_MAX_ACC, LTH_TILE_W, LTH_MAX_RUN and LTH_PAIR_ACC"
#endif
#if !defined(LTH_INT8_TUNING) || !defined(LTH_INT8_PAIR_TUNING)
#error "set LTH_INT8_TUNING and LTH_INT8_PAIR_TUNING"
#endif
#endif
