// multiply TENSOR TENSOR act=: two tensors of one plane; or the second has one pixel, a factor for all of its channel.
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

}  // namespace

extern constexpr OpDef kMultiplyOp = multiply();

}  // namespace lth
