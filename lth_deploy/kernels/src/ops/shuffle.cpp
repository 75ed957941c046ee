// shuffle TENSOR groups=G: channel k of group g, of G groups one behind the other, becomes channel k * G + g.
#include <cstring>

#include "execute/call.h"
#include "ops/op.h"
#include "program/operands.h"

namespace lth {
namespace {

void parse(Operands& operands, Instr& instr) {
  instr.args = {operands.tensor()};
  instr.groups = operands.number("groups=", 2, kMaxChannels);
}

void check(const Fields& line, const Program&, Instr& instr) {
  if (instr.channels % instr.groups == 0) return;
  line.fail(std::to_string(instr.groups) + " groups do not divide " + std::to_string(instr.channels) + " channels");
}

void run(Call& call, int i, const Instr& in) {
  const int of_group = in.channels / in.groups;
  call.each_plane(i, [&](int n, int c) {
    const int from = c % in.groups * of_group + c / in.groups;
    std::memcpy(call.plane(i, n, c), call.plane(in.args[0], n, from), call.cells(i) * sizeof(float));
  });
}

constexpr OpDef shuffle() {
  OpDef op;
  op.name = "shuffle";
  op.since = 3;
  op.parse = parse;
  op.check = check;
  op.run = run;
  return op;
}

}  // namespace

extern constexpr OpDef kShuffleOp = shuffle();

}  // namespace lth
