// What a region computes: the parsed form of the `program` attribute. See export/REGION.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "error.h"
#include "isa/activations.h"
#include "ops/list.h"
#include "program/quantization.h"

namespace lth {

struct Act {
  ActKind kind = ActKind::kNone;
  float a = 0.f, b = 0.f;  // its numbers in a program, in order
};

enum class Coding { kDense, kBitmask, kSteps8, kGaps };

enum class ValueType { kFloat, kHalf, kBfloat, kInt8, kInt32 };

constexpr int kBfloatSince = 6;  // the first version of the program that has values of bf16

// What shares one stored position: places of the first dimension of the weight by places of the second, so outputs by
// inputs; since version 6 also inputs by outputs, of weights that have their inputs first.
struct BlockDef {
  const char* name;
  int rows, columns;
  int since;  // the first version of the program that has it
};

constexpr BlockDef kBlocks[] = {{"2x1", 2, 1, 1}, {"1x4", 1, 4, 1}, {"2x4", 2, 4, 1}, {"16x4", 16, 4, 5}, {"32x4", 32, 4, 5},
                                {"1x2", 1, 2, 6}, {"4x1", 4, 1, 6}, {"4x2", 4, 2, 6}, {"4x16", 4, 16, 6}, {"4x32", 4, 32, 6}};

// A constant of the region: a weight (2 to 4 dimensions), or a bias or scales of output channels (1 dimension).
struct WeightDecl {
  Coding coding = Coding::kDense;
  int gap_bits = 0;      // of kGaps: 4, 6, 8, 10, 12 or 16
  int block_rows = 1, block_columns = 1;  // of the blocks that the coding counts
  ValueType type = ValueType::kFloat;
  std::vector<int64_t> dims;
  int positions_input = -1;  // node input that holds the positions; -1 for kDense
  int values_input = -1;     // node input that holds the values
};

struct Window {
  int kh = 1, kw = 1;      // kernel
  int sh = 1, sw = 1;      // stride
  int pt = 0, pl = 0;      // padding at the top and left ...
  int pb = 0, pr = 0;      // ... and at the bottom and right
  int dh = 1, dw = 1;      // dilation
};

// Instruction i makes tensor i. `args` are earlier tensors, but for the loads, whose only argument is a node input.
struct Instr {
  Op op{};
  std::vector<int> args;
  int channels = 0;     // of the tensor that is made
  bool quantized = false;     // whether that tensor is uint8, else float32
  Quantization quantization;  // ... and what its values stand for
  bool rows = false;    // whether that tensor is [N, channels]: it comes from a loadrows
  int weight = -1;      // of convolutions, transposed or not, as the next two
  int scales = -1;      // of the output channels, where the weight is of s8
  int bias = -1;        // -1 for none
  int factor = -1, shift = -1;    // scale, batchnorm: of each channel; -1 for none
  int mean = -1, variance = -1;   // batchnorm: of each channel
  float epsilon = 0.f;            // batchnorm: added to the variance
  int add = -1;         // conv, qconv: tensor added before the activation; -1 for none
  int groups = 1;       // conv, qconv, shuffle
  int from = 0, to = 0; // slice: channels [from, to)
  int option = 0;       // what a key of the operator's own chose: see its file in ops/
  Window window;        // of convolutions and pools
  Act act;              // of convolutions, add, qadd, act, requantize
};

struct Output {
  int tensor = -1;
  bool rows = false;  // [N, channels] instead of [N, channels, H, W]; the tensor comes from a loadrows
};

struct Program {
  int version = 1;  // the lowest that has all operators, activations and weights that are used
  int inputs = 0;  // activations: the first inputs of the node
  std::vector<WeightDecl> weights;
  std::vector<Instr> instrs;
  std::vector<Output> outputs;
};

// Parses and checks a program against all rules of export/REGION.md that need neither data nor shapes.
// `node_inputs` is the number of inputs of the node. Throws Error.
Program parse_program(const std::string& text, int node_inputs);

}  // namespace lth
