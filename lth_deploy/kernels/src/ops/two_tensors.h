#pragma once
// What the operators of two tensors have in common: OPERATOR TENSOR TENSOR act=
#include "ops/op.h"
#include "program/checks.h"

namespace lth {

inline void parse_two_tensors(Operands& operands, Instr& instr) {
  const int first = operands.tensor();
  instr.args = {first, operands.tensor()};
  instr.act = operands.act();
}

inline void check_two_tensors(const Fields& line, const Program& program, Instr& instr) {
  expect_channels(line, program, instr.args[1], instr.channels);
}

}  // namespace lth
