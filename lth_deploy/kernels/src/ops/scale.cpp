// scale TENSOR WEIGHT-or-dash WEIGHT-or-dash act=: a factor and a shift of each channel
#include "execute/call.h"
#include "ops/op.h"
#include "program/checks.h"

namespace lth {
namespace {

void parse(Operands& operands, Instr& instr) {
  instr.args = {operands.tensor()};
  instr.factor = operands.optional_weight("a factor, or -");
  instr.shift = operands.optional_weight("a shift, or -");
  if (instr.factor < 0 && instr.shift < 0) operands.fail("a scale has a factor, a shift or both");
  instr.act = operands.act();
}

void check(const Fields& line, const Program& program, Instr& instr) {
  for (const int constant : {instr.factor, instr.shift}) {
    if (constant >= 0) expect_channel_values(line, program.weights[constant], instr.channels);
  }
}

constexpr OpDef scale() {
  OpDef op;
  op.name = "scale";
  op.since = 3;
  op.writes_in_step = true;
  op.parse = parse;
  op.check = check;
  op.run = run_channel_values;
  return op;
}

}  // namespace

extern constexpr OpDef kScaleOp = scale();

}  // namespace lth
