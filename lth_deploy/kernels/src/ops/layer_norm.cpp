// layernorm TENSOR WEIGHT-or-dash WEIGHT-or-dash epsilon= act=: (x - mean) / sqrt(variance + epsilon) over the channels of
// each pixel or row, times a factor and plus a shift of each channel
#include <algorithm>

#include "execute/call.h"
#include "ops/op.h"
#include "program/checks.h"

namespace lth {
namespace {

constexpr int kLinesATask = 8;

void parse(Operands& operands, Instr& instr) {
  instr.args = {operands.tensor()};
  instr.factor = operands.optional_weight("a factor, or -");
  instr.shift = operands.optional_weight("a shift, or -");
  instr.epsilon = static_cast<float>(operands.real("epsilon="));
  if (!(instr.epsilon > 0.f)) operands.fail("epsilon is above zero");
  instr.act = operands.act();
}

void check(const Fields& line, const Program& program, Instr& instr) {
  for (const int constant : {instr.factor, instr.shift}) {
    if (constant >= 0) expect_channel_values(line, program.weights[constant], instr.channels);
  }
}

void run(Call& call, int i, const Instr& in) {
  const int x = in.args[0];
  const ChannelValues& of = call.compiled.channel_values[i];
  const int lines = lines_of(call.tensor(i).plane), tasks = (lines + kLinesATask - 1) / kLinesATask;
  Normalize job;
  job.channels = in.channels;
  job.factor = of.factor.empty() ? nullptr : of.factor.data();
  job.shift = of.shift.empty() ? nullptr : of.shift.data();
  job.epsilon = in.epsilon;
  job.finish = finish_of(in.act);
  job.channel_cells = call.buffer(x).cells;
  job.out_channel_cells = call.buffer(i).cells;
  for_each_task(call.parallel, static_cast<int64_t>(tasks) * call.tensor(i).n, [&](int, int64_t task) {
    const int n = static_cast<int>(task / tasks), first = static_cast<int>(task % tasks) * kLinesATask;
    const size_t at = static_cast<size_t>(first) * call.isa.lanes;
    Normalize part = job;
    part.x = call.plane(x, n, 0) + at;
    part.out = call.plane(i, n, 0) + at;
    part.lines = std::min(kLinesATask, lines - first);
    call.isa.normalize(part);
  });
}

constexpr OpDef layer_norm() {
  OpDef op;
  op.name = "layernorm";
  op.since = 4;
  op.writes_in_step = true;
  op.parse = parse;
  op.check = check;
  op.run = run;
  return op;
}

}  // namespace

extern constexpr OpDef kLayerNormOp = layer_norm();

}  // namespace lth
