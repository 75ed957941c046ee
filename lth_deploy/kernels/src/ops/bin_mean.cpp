// binmean TENSOR WEIGHT groups=G: of each of G groups of channels the sum of softmax(channels) * WEIGHT, [channels / G, 1]
#include <algorithm>

#include "execute/call.h"
#include "ops/op.h"
#include "program/checks.h"

namespace lth {
namespace {

constexpr int kLinesATask = 16;

void parse(Operands& operands, Instr& instr) {
  instr.args = {operands.tensor()};
  instr.factor = operands.weight("bins");
  instr.groups = operands.number("groups=", 1, kMaxChannels);
}

void check(const Fields& line, const Program& program, Instr& instr) {
  if (instr.channels % instr.groups != 0) {
    line.fail(std::to_string(instr.groups) + " groups do not divide " + std::to_string(instr.channels) + " channels");
  }
  const WeightDecl& bins = program.weights[instr.factor];
  expect_dims(line, "the weight of bins", bins.dims, {instr.channels / instr.groups, 1});
  expect_real(line, bins);
  instr.channels = instr.groups;
}

void run(Call& call, int i, const Instr& in) {
  const int x = in.args[0];
  const std::vector<float>& bins = call.compiled.channel_values[i].factor;
  BinMeans job;
  job.bins = static_cast<int>(bins.size());
  job.values = bins.data();
  job.channel_cells = call.buffer(x).cells;
  const int lines = lines_of(call.tensor(i).plane), tasks = (lines + kLinesATask - 1) / kLinesATask;
  const int64_t groups = int64_t{call.tensor(i).n} * in.groups;
  for_each_task(call.parallel, groups * tasks, [&](int, int64_t task) {
    const int n = static_cast<int>(task / tasks / in.groups), g = static_cast<int>(task / tasks % in.groups);
    const int first = static_cast<int>(task % tasks) * kLinesATask;
    const size_t at = static_cast<size_t>(first) * call.isa.lanes;
    BinMeans part = job;
    part.x = call.plane(x, n, g * job.bins) + at;
    part.out = call.plane(i, n, g) + at;
    part.lines = std::min(kLinesATask, lines - first);
    call.isa.bin_means(part);
  });
}

constexpr OpDef bin_mean() {
  OpDef op;
  op.name = "binmean";
  op.since = 6;
  op.planes_only = true;
  op.parse = parse;
  op.check = check;
  op.run = run;
  return op;
}

}  // namespace

extern constexpr OpDef kBinMeanOp = bin_mean();

}  // namespace lth
