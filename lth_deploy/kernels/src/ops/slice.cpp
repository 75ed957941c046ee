// slice TENSOR from=C to=C: channels [from, to), which stay where they are
// qslice TENSOR from=C to=C: of a quantized tensor, from any channel on
#include "execute/byte_pieces.h"
#include "execute/call.h"
#include "ops/op.h"
#include "program/checks.h"

namespace lth {
namespace {

void parse(Operands& operands, Instr& instr) {
  instr.args = {operands.tensor()};
  instr.from = operands.number("from=", 0, kMaxChannels);
  instr.to = operands.number("to=", 1, kMaxChannels);
}

void check_bounds(const Fields& line, const Program&, Instr& instr) {
  if (instr.from >= instr.to || instr.to > instr.channels) {
    line.fail("t" + std::to_string(instr.args[0]) + " has no channels " + std::to_string(instr.from) + " to " +
              std::to_string(instr.to));
  }
  instr.channels = instr.to - instr.from;
}

void check(const Fields& line, const Program& program, Instr& instr) {
  check_bounds(line, program, instr);
  if (instr.quantized && !whole_cells(instr.from)) {
    line.fail("a slice of a quantized tensor begins at a multiple of 4; qslice begins anywhere");
  }
}

void check_quantized(const Fields& line, const Program& program, Instr& instr) {
  check_bounds(line, program, instr);
  instr.quantized = true;
  instr.quantization = program.instrs[instr.args[0]].quantization;
}

void run_quantized(Call& call, int i, const Instr& in) {
  call.each_plane(i, [&](int n, int c) {
    BytePieces pieces;
    pieces.add(call, in.args[0], n, in.from, 4 * c, call.channels_in(i, c));
    pieces.assemble(call, call.cells(i), call.cells_of(i, n, c));
  });
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

constexpr OpDef qslice() {
  OpDef op;
  op.name = "qslice";
  op.since = 3;
  op.takes = Takes::kQuantized;
  op.parse = parse;
  op.check = check_quantized;
  op.run = run_quantized;
  return op;
}

}  // namespace

extern constexpr OpDef kSliceOp = slice(), kQSliceOp = qslice();

}  // namespace lth
