// multiply TENSOR TENSOR act=: two tensors of one plane; or the second has one pixel, a factor for all of its channel.
// qmultiply TENSOR TENSOR act= out=: the first times the activation of the second, both quantized, of one plane.
// qgate TENSOR TENSOR act= out=: the activation of the first, quantized, times a factor in float32 for each channel.
#include "execute/call.h"
#include "ops/two_tensors.h"
#include "plan/shapes.h"

namespace lth {
namespace {

bool is_pixel(const PlaneShape& plane) { return plane.H == 1 && plane.W == 1; }

void shape(const ShapeRules& rules, const Instr& in, TensorPlan& t) {
  const TensorPlan &x = rules.tensor(in.args[0]), &y = rules.tensor(in.args[1]);
  t.n = x.n;
  t.plane = x.plane;
  if (!is_pixel(y.plane) || y.n != t.n) rules.match(t, in.args[1]);
}

void run(Call& call, int i, const Instr& in) {
  const Finish finish = finish_of(in.act);
  const int x = in.args[0], y = in.args[1];
  if (!same_plane(call.tensor(x).plane, call.tensor(y).plane)) {
    call.each_plane(i, [&](int n, int c) {
      call.isa.scale(call.plane(x, n, c), *call.plane(y, n, c), -0.f, call.cells(i), finish, call.plane(i, n, c));
    });
    return;
  }
  call.each_plane(i, [&](int n, int c) {
    call.isa.multiply(call.plane(x, n, c), call.plane(y, n, c), call.cells(i), finish, call.plane(i, n, c));
  });
}

void parse_quantized(Operands& operands, Instr& instr) {
  parse_two_tensors(operands, instr);
  operands.out(false, instr);
}

void run_quantized(Call& call, int i, const Instr& in) {
  const Requantize requantize = product_of(call.compiled.program, in);
  call.each_plane(i, [&](int n, int c) {
    call.isa.multiply_activated(call.cells_of(in.args[0], n, c), call.cells_of(in.args[1], n, c), call.cells(i), requantize,
                                call.cells_of(i, n, c));
  });
}

void check_gate(const Fields& line, const Program& program, Instr& instr) {
  expect_quantized(line, program, instr.args[0], true);
  expect_quantized(line, program, instr.args[1], false);
  check_two_tensors(line, program, instr);
}

void gate_shape(const ShapeRules& rules, const Instr& in, TensorPlan& t) {
  const TensorPlan &x = rules.tensor(in.args[0]), &y = rules.tensor(in.args[1]);
  t.n = x.n;
  t.plane = x.plane;
  if (!is_pixel(y.plane) || y.n != x.n) rules.refuse("its factors are not one pixel for each image");
}

void run_gate(Call& call, int i, const Instr& in) {
  const Requantize requantize = activated_of(call.compiled.program, in);
  call.each_plane(i, [&](int n, int c) {
    float factors[4] = {};
    for (int k = 0; k < call.channels_in(i, c); ++k) factors[k] = *call.plane(in.args[1], n, 4 * c + k);
    call.isa.gate_quantized(call.cells_of(in.args[0], n, c), factors, call.cells(i), requantize, call.cells_of(i, n, c));
  });
}

constexpr OpDef multiply() {
  OpDef op;
  op.name = "multiply";
  op.since = 3;
  op.writes_in_step = true;
  op.parse = parse_two_tensors;
  op.check = check_two_tensors;
  op.shape = shape;
  op.run = run;
  return op;
}

constexpr OpDef qmultiply() {
  OpDef op;
  op.name = "qmultiply";
  op.since = 5;
  op.takes = Takes::kQuantized;
  op.writes_in_step = true;
  op.parse = parse_quantized;
  op.check = check_two_tensors;
  op.run = run_quantized;
  return op;
}

constexpr OpDef qgate() {
  OpDef op;
  op.name = "qgate";
  op.since = 5;
  op.takes = Takes::kMixed;
  op.planes_only = true;
  op.writes_in_step = true;
  op.parse = parse_quantized;
  op.check = check_gate;
  op.shape = gate_shape;
  op.run = run_gate;
  return op;
}

}  // namespace

extern constexpr OpDef kMultiplyOp = multiply(), kQMultiplyOp = qmultiply(), kQGateOp = qgate();

}  // namespace lth
