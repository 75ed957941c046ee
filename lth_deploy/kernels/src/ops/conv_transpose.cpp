// convtranspose TENSOR WEIGHT BIAS kernel= stride= act=
// qconvtranspose TENSOR WEIGHT SCALES BIAS kernel= stride= act= out=
// Stride and kernel are equal: a 1x1 convolution makes the phases, which are interleaved afterwards.
#include "execute/layer_call.h"
#include "ops/op.h"
#include "plan/shapes.h"
#include "program/checks.h"

namespace lth {
namespace {

void parse(Operands& operands, Instr& instr) {
  operands.weights(def_of(instr).int8_weights, instr);
  instr.window = operands.transposed_window();
  instr.act = operands.act();
}

void parse_quantized(Operands& operands, Instr& instr) {
  parse(operands, instr);
  operands.out(true, instr);
}

void check(const Fields& line, const Program& program, Instr& instr) {
  const std::vector<int64_t>& dims = program.weights[instr.weight].dims;
  if (dims.size() != 4) line.fail("the weight of a transposed convolution has " + std::to_string(dims.size()) + " dimensions");
  instr.channels = checked_channels(line, dims[1]);
  const int in = program.instrs[instr.args[0]].channels;
  expect_dims(line, "the weight", dims, {in, instr.channels, instr.window.kh, instr.window.kw});
  check_constant_types(line, program, instr);
}

void shape(const ShapeRules& rules, const Instr& in, TensorPlan& t) {
  const TensorPlan& x = rules.tensor(in.args[0]);
  t.n = x.n;
  const int64_t H = int64_t{x.plane.H} * in.window.sh, W = int64_t{x.plane.W} * in.window.sw;
  rules.limit(t.n, t.channels, H, W);
  t.plane = rules.plane(static_cast<int>(H), static_cast<int>(W));
}

void plan(const Compiled& c, Plan& plan, int i) {
  const Instr& in = c.program.instrs[i];
  InstrPlan& p = plan.instrs[i];
  const PlaneShape& source = plan.tensors[in.args[0]].plane;
  const Buffer& scratch = plan.buffers[p.scratch.buffer];
  const int phase_planes = scratch.planes / (in.window.sh * in.window.sw);
  p.tiles = tiles_of(c, i, source, Window{});
  p.phases = phase_map(source, plan.tensors[i].plane, in.window.sh, in.window.sw,
                       phase_planes * static_cast<int>(scratch.cells), c.isa->lanes);
}

void run(Call& call, int i, const Instr& in) {
  const InstrPlan& p = call.plan.instrs[i];
  const Buffer& scratch = call.plan.buffers[p.scratch.buffer];
  float* const phases = call.start(scratch);
  ConvCall conv = layer_call(call, i, in);
  conv.window = Window{};
  conv.out_w = call.tensor(in.args[0]).plane.w;
  conv.contiguous = true;
  conv.out = {phases, scratch.cells, scratch.cells * scratch.planes};
  const int all = conv.n;
  for (int first = 0; first < all; first += p.images) {
    conv.n = std::min(p.images, all - first);
    conv.source.first = call.plane(in.args[0], first, 0);
    run_layer(call, i, in, conv);
    call.each_plane_of_workers(i, first, conv.n, [&](int, int n, int c) {
      const size_t from = (static_cast<size_t>(n - first) * scratch.planes + c) * scratch.cells;
      call.isa.resample(reinterpret_cast<const uint32_t*>(phases + from), p.phases.view(), call.tensor(i).plane, 0,
                        call.cells_of(i, n, c));
    });
  }
}

constexpr OpDef conv_transpose() {
  OpDef op;
  op.name = "convtranspose";
  op.planes_only = true;
  op.inputs_first = true;
  op.transposed = true;
  op.parse = parse;
  op.check = check;
  op.shape = shape;
  op.plan = plan;
  op.run = run;
  return op;
}

constexpr OpDef qconv_transpose() {
  OpDef op = conv_transpose();
  op.name = "qconvtranspose";
  op.takes = Takes::kQuantized;
  op.int8_weights = true;
  op.parse = parse_quantized;
  return op;
}

}  // namespace

extern constexpr OpDef kConvTransposeOp = conv_transpose(), kQConvTransposeOp = qconv_transpose();

}  // namespace lth
