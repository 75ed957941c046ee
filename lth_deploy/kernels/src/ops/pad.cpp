// pad TENSOR pads=TOP,LEFT,BOTTOM,RIGHT: zeros around each plane
// qpad TENSOR pads=: of a quantized tensor, whose zero point lies around it
#include "execute/call.h"
#include "ops/op.h"
#include "plan/shapes.h"

namespace lth {
namespace {

constexpr uint32_t kEveryByte = 0x01010101u;

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
  const uint32_t around = static_cast<uint32_t>(in.quantization.zero_point) * kEveryByte;  // of float32: 0
  call.each_plane(i, [&](int n, int c) {
    call.isa.resample(call.cells_of(in.args[0], n, c), map, call.tensor(i).plane, around, call.cells_of(i, n, c));
  });
}

// The result has the type, scale and zero point of the argument.
void check_quantized(const Fields&, const Program& program, Instr& instr) {
  instr.quantized = true;
  instr.quantization = program.instrs[instr.args[0]].quantization;
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

constexpr OpDef quantized_pad() {
  OpDef op = pad();
  op.name = "qpad";
  op.since = 5;
  op.takes = Takes::kQuantized;
  op.check = check_quantized;
  return op;
}

}  // namespace

extern constexpr OpDef kPadOp = pad(), kQPadOp = quantized_pad();

}  // namespace lth
