// spacetodepth TENSOR block=B order=rows|columns: pixel (y, x) of each square of B x B pixels becomes a pixel of block
// y * B + x of channels, or with order=columns of block x * B + y.
#include "execute/call.h"
#include "execute/input_pixels.h"
#include "ops/block_pixel.h"
#include "ops/op.h"
#include "plan/shapes.h"
#include "program/checks.h"

namespace lth {
namespace {

void parse(Operands& operands, Instr& instr) {
  instr.args = {operands.tensor()};
  const int block = operands.number("block=", 2, 8);
  instr.window.kh = instr.window.kw = instr.window.sh = instr.window.sw = block;
  instr.option = operands.choice("order=", {"rows", "columns"});
}

void check(const Fields& line, const Program&, Instr& instr) {
  instr.channels = checked_channels(line, int64_t{instr.channels} * instr.window.kh * instr.window.kw);
}

void shape(const ShapeRules& rules, const Instr& in, TensorPlan& t) {
  const TensorPlan& x = rules.tensor(in.args[0]);
  const int block = in.window.kh;
  if (x.plane.H % block != 0 || x.plane.W % block != 0) rules.refuse("its planes are no whole number of blocks");
  t.n = x.n;
  t.plane = rules.plane(x.plane.H / block, x.plane.W / block);
}

void plan(const Compiled& c, Plan& plan, int i) {
  plan_window(c, plan, i);
  order_by_taps(plan.instrs[i].map, c.program.instrs[i].window, plan.tensors[i].plane);
}

void run(Call& call, int i, const Instr& in) {
  const LineMap map = call.plan.instrs[i].map.view();
  const PlaneShape& out = call.tensor(i).plane;
  const int channels = call.tensor(in.args[0]).channels;
  if (call.compiled.fused_io[in.args[0]]) {
    return call.each_plane(i, [&](int n, int c) { call.isa.load(input_pixels(call, i, n, c), out, call.plane(i, n, c)); });
  }
  call.each_plane(i, [&](int n, int c) {
    const BlockPixel at = block_pixel(in, c / channels);
    const LineMap phase{map.rows + at.y * out.h, map.columns + at.x * out.w, map.source_w, map.aligned};
    call.isa.resample(call.cells_of(in.args[0], n, c % channels), phase, out, 0, call.cells_of(i, n, c));
  });
}

constexpr OpDef space_to_depth() {
  OpDef op;
  op.name = "spacetodepth";
  op.since = 3;
  op.planes_only = true;
  op.parse = parse;
  op.check = check;
  op.shape = shape;
  op.plan = plan;
  op.run = run;
  return op;
}

}  // namespace

extern constexpr OpDef kSpaceToDepthOp = space_to_depth();

}  // namespace lth
