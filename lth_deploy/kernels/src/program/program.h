// What a region computes: the parsed form of the `program` attribute. See export/REGION.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "error.h"
#include "program/quantized.h"

namespace lth {

enum class ActKind { kNone, kRelu, kLeaky, kClip, kSilu, kHardSwish };

struct Act {
  ActKind kind = ActKind::kNone;
  float a = 0.f;  // slope of kLeaky; lower bound of kClip
  float b = 0.f;  // upper bound of kClip
};

enum class Coding { kDense, kBitmask, kSteps8, kGaps };

enum class ValueType { kFloat, kHalf, kInt8, kInt32 };

// A constant of the region: a weight (2 to 4 dimensions), or a bias or scales of output channels (1 dimension).
struct WeightDecl {
  Coding coding = Coding::kDense;
  int gap_bits = 0;      // of kGaps: 4, 6, 8, 10, 12 or 16
  int block_rows = 1, block_columns = 1;  // outputs and inputs of the blocks that the coding counts
  ValueType type = ValueType::kFloat;
  std::vector<int64_t> dims;
  int positions_input = -1;  // node input that holds the positions; -1 for kDense
  int values_input = -1;     // node input that holds the values
};

enum class Op { kLoad, kLoadRows, kConv, kConvTranspose, kMaxPool, kResize, kAdd, kAct, kConcat, kSlice,
                kQuantize, kQConv, kQConvTranspose, kQAdd, kRequantize, kDequantize };

inline bool is_transposed(Op op) { return op == Op::kConvTranspose || op == Op::kQConvTranspose; }

// Whether weights are of s8, and sums of integers.
inline bool sums_bytes(Op op) { return op == Op::kQConv || op == Op::kQConvTranspose; }

struct Window {
  int kh = 1, kw = 1;      // kernel
  int sh = 1, sw = 1;      // stride
  int pt = 0, pl = 0;      // padding at the top and left ...
  int pb = 0, pr = 0;      // ... and at the bottom and right
  int dh = 1, dw = 1;      // dilation
};

// What a kResize makes of the pixels around a position: the one at floor(i * in / out), or a bilinear mean at
// (i + 1/2) * in / out - 1/2 or at i * in / out.
enum class Resampling { kNearest, kHalfPixel, kAsymmetric };

// Instruction i makes tensor i. `args` are earlier tensors, but for the loads, whose only argument is a node input.
struct Instr {
  Op op = Op::kLoad;
  std::vector<int> args;
  int channels = 0;     // of the tensor that is made
  bool bytes = false;   // whether that tensor has bytes, else float32
  Quantized quantized;  // ... and what they stand for
  bool rows = false;    // whether that tensor is [N, channels]: it comes from a kLoadRows
  int weight = -1;      // of convolutions, transposed or not, as the next two
  int scales = -1;      // of the output channels, where bytes are summed
  int bias = -1;        // -1 for none
  int add = -1;         // kConv, kQConv: tensor added before the activation; -1 for none
  int groups = 1;       // kConv, kQConv
  int from = 0, to = 0; // kSlice: channels [from, to)
  Resampling resampling = Resampling::kNearest;  // kResize
  Window window;        // of convolutions, and kMaxPool
  Act act;              // of convolutions, kAdd, kQAdd, kAct, kRequantize
};

struct Output {
  int tensor = -1;
  bool rows = false;  // [N, channels] instead of [N, channels, H, W]; the tensor comes from a kLoadRows
};

struct Program {
  int inputs = 0;  // activations: the first inputs of the node
  std::vector<WeightDecl> weights;
  std::vector<Instr> instrs;
  std::vector<Output> outputs;
};

// Parses and checks a program against all rules of export/REGION.md that need neither data nor shapes.
// `node_inputs` is the number of inputs of the node. Throws Error.
Program parse_program(const std::string& text, int node_inputs);

}  // namespace lth
