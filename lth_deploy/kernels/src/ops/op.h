// What the library knows of an operator: one entry of the table of operators, defined in one file of this folder.
// Entries are looked up once for each instruction, never in an inner loop.
#pragma once

#include "plan/byte_table.h"
#include "program/operands.h"
#include "program/program.h"

namespace lth {

class Call;
class ShapeRules;
struct Compiled;
struct Plan;
struct TensorPlan;

// The tensors that an operator takes.
enum class Takes {
  kInput,      // none: its only argument is an input of the node
  kFloat,      // float32
  kQuantized,  // uint8
  kMixed,      // as it checks them itself
  kEither      // either; the result has the type, scale and zero point of the first argument
};

// Where a result lies.
enum class Placement {
  kOwn,        // in a buffer of its own
  kView,       // inside its argument's buffer, from channel `from` on
  kAssembled   // in a buffer in which arguments are made in place, where nothing prevents it
};

struct OpDef {
  const char* name = nullptr;  // in a program
  int since = 1;               // first version of the program that has it
  Takes takes = Takes::kFloat;
  bool planes_only = false;      // does not take matrices, the tensors of a loadrows
  bool inputs_first = false;     // dimension 1 of the weight, not 0, counts output channels
  bool transposed = false;       // a transposed convolution, which makes phases that are interleaved
  bool int8_weights = false;     // has weights of s8 and accumulators of int32
  bool bf16_weights = false;     // may have weights of bf16: its input then is rounded to bf16 too
  bool second_is_shape = false;  // of its second and last argument, nothing but the shape is read
  bool writes_in_step = false;   // reads of its arguments just the line that it writes next
  Placement placement = Placement::kOwn;

  // Reads the operands behind the name.
  void (*parse)(Operands&, Instr&) = nullptr;
  // Checks the operands, whose types fit, and sets the channels of the result. Null: those of the first argument.
  void (*check)(const Fields& line, const Program&, Instr&) = nullptr;
  // Sets batch and plane of a result. Null: those of the first argument, with which all others must agree.
  void (*shape)(const ShapeRules&, const Instr&, TensorPlan&) = nullptr;
  // Of a function of one byte: its table, made once when the region is. Null for others.
  ByteTable (*table)(const Program&, const Instr&, const Isa&) = nullptr;
  // Prepares instruction i for its shapes. May be null.
  void (*plan)(const Compiled&, Plan&, int i) = nullptr;
  // Computes instruction i. Null where nothing is to be done.
  void (*run)(Call&, int i, const Instr&) = nullptr;
};

const OpDef& def_of(Op op);

// Whether there is an operator of this name, and which.
bool find_op(std::string_view name, Op& op);

inline const OpDef& def_of(const Instr& instr) { return def_of(instr.op); }

// The version of the latest operator.
int latest_operator();

// The tensors that an instruction reads; a load reads an input of the node instead.
std::vector<int> arguments_of(const Instr& instr);

}  // namespace lth
