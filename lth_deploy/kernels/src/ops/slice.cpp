// slice TENSOR from=C to=C: channels [from, to), which stay where they are
#include "ops/op.h"
#include "program/checks.h"

namespace lth {
namespace {

void parse(Operands& operands, Instr& instr) {
  instr.args = {operands.tensor()};
  instr.from = operands.number("from=", 0, kMaxChannels);
  instr.to = operands.number("to=", 1, kMaxChannels);
}

void check(const Fields& line, const Program&, Instr& instr) {
  if (instr.from >= instr.to || instr.to > instr.channels) {
    line.fail("t" + std::to_string(instr.args[0]) + " has no channels " + std::to_string(instr.from) + " to " +
              std::to_string(instr.to));
  }
  if (instr.quantized && !whole_cells(instr.from)) line.fail("slices of a quantized tensor begin at a multiple of 4");
  instr.channels = instr.to - instr.from;
}

constexpr OpDef slice() {
  OpDef op;
  op.name = "slice";
  op.takes = Takes::kEither;
  op.placement = Placement::kView;
  op.parse = parse;
  op.check = check;
  return op;
}

}  // namespace

extern constexpr OpDef kSliceOp = slice();

}  // namespace lth
