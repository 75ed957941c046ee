// The operators of a program, in one list. X(kind) stands for Op::kKIND, for the entry kKINDOp of the table, which the
// operator's file in this folder defines, and for the oracle kNaiveKIND of the tests.
#pragma once

#define LTH_OPS(X)      \
  X(Load)               \
  X(LoadRows)           \
  X(LoadTokens)         \
  X(Conv)               \
  X(MatMul)             \
  X(ConvTranspose)      \
  X(MaxPool)            \
  X(ZeroMaxPool)        \
  X(AveragePool)        \
  X(GlobalAveragePool)  \
  X(Resize)             \
  X(Add)                \
  X(Subtract)           \
  X(Multiply)           \
  X(Scale)              \
  X(BatchNorm)          \
  X(LayerNorm)          \
  X(Act)                \
  X(Concat)             \
  X(Shuffle)            \
  X(Pad)                \
  X(SpaceToDepth)       \
  X(Slice)              \
  X(Quantize)           \
  X(QConv)              \
  X(QGrouped)           \
  X(QMatMul)            \
  X(QConvTranspose)     \
  X(QAdd)               \
  X(QResidual)          \
  X(Requantize)         \
  X(Dequantize)         \
  X(QConcat)            \
  X(QSlice)             \
  X(QMultiply)          \
  X(QGate)              \
  X(QGlobalAveragePool) \
  X(QAveragePool)       \
  X(QPad)               \
  X(Upsample)           \
  X(BinMean)

namespace lth {

#define LTH_KIND(kind) k##kind,
enum class Op { LTH_OPS(LTH_KIND) };
#undef LTH_KIND

}  // namespace lth
