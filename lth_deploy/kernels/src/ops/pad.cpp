// pad TENSOR pads=TOP,LEFT,BOTTOM,RIGHT: zeros around each plane
#include "execute/call.h"
#include "ops/op.h"
#include "plan/shapes.h"

namespace lth {
namespace {

void parse(Operands& operands, Instr& instr) {
  instr.args = {operands.tensor()};
  operands.pads(instr.window);
}

void shape(const ShapeRules& rules, const Instr& in, TensorPlan& t) {
  const TensorPlan& x = rules.tensor(in.args[0]);
  const Window& w = in.window;
  t.n = x.n;
  rules.limit(t.n, t.channels, int64_t{x.plane.H} + w.pt + w.pb, int64_t{x.plane.W} + w.pl + w.pr);
  t.plane = rules.plane(x.plane.H + w.pt + w.pb, x.plane.W + w.pl + w.pr);
}

void run(Call& call, int i, const Instr& in) {
  const LineMap map = call.plan.instrs[i].map.view();
  call.each_plane(i, [&](int n, int c) {
    call.isa.resample(call.cells_of(in.args[0], n, c), map, call.tensor(i).plane, call.cells_of(i, n, c));
  });
}

constexpr OpDef pad() {
  OpDef op;
  op.name = "pad";
  op.since = 3;
  op.planes_only = true;
  op.parse = parse;
  op.shape = shape;
  op.plan = plan_window;
  op.run = run;
  return op;
}

}  // namespace

extern constexpr OpDef kPadOp = pad();

}  // namespace lth
