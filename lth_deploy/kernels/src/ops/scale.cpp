// scale TENSOR WEIGHT-or-dash WEIGHT-or-dash act=: a factor and a shift of each channel
// batchnorm TENSOR WEIGHT WEIGHT WEIGHT WEIGHT epsilon= act=: scale, shift, mean and variance of each channel
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

void parse_batch_norm(Operands& operands, Instr& instr) {
  instr.args = {operands.tensor()};
  instr.factor = operands.weight("a factor");
  instr.shift = operands.weight("a shift");
  instr.mean = operands.weight("a mean");
  instr.variance = operands.weight("a variance");
  instr.epsilon = static_cast<float>(operands.real("epsilon="));
  if (!(instr.epsilon >= 0.f)) operands.fail("epsilon is not below zero");
  instr.act = operands.act();
}

void check_batch_norm(const Fields& line, const Program& program, Instr& instr) {
  for (const int constant : {instr.factor, instr.shift, instr.mean, instr.variance}) {
    expect_channel_values(line, program.weights[constant], instr.channels);
  }
}

constexpr OpDef batch_norm() {
  OpDef op;
  op.name = "batchnorm";
  op.since = 3;
  op.writes_in_step = true;
  op.parse = parse_batch_norm;
  op.check = check_batch_norm;
  op.run = run_channel_values;
  return op;
}

}  // namespace

extern constexpr OpDef kScaleOp = scale(), kBatchNormOp = batch_norm();

}  // namespace lth
