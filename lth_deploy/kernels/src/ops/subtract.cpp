// subtract TENSOR TENSOR act=
#include "execute/call.h"
#include "ops/two_tensors.h"

namespace lth {
namespace {

void run(Call& call, int i, const Instr& in) {
  const Finish finish = finish_of(in.act);
  call.each_plane(i, [&](int n, int c) {
    call.isa.subtract(call.plane(in.args[0], n, c), call.plane(in.args[1], n, c), call.cells(i), finish, call.plane(i, n, c));
  });
}

constexpr OpDef subtract() {
  OpDef op;
  op.name = "subtract";
  op.since = 3;
  op.writes_in_step = true;
  op.parse = parse_two_tensors;
  op.check = check_two_tensors;
  op.run = run;
  return op;
}

}  // namespace

extern constexpr OpDef kSubtractOp = subtract();

}  // namespace lth
