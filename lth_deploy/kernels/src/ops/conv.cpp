// conv TENSOR WEIGHT BIAS kernel= stride= pads= dilation= groups= [add=TENSOR] act=
// qconv TENSOR WEIGHT SCALES BIAS kernel= stride= pads= dilation= groups= [add=TENSOR] act= out=
// qgrouped: a qconv whose groups do not all begin with a cell
// matmul TENSOR WEIGHT BIAS [add=TENSOR] act=: of rows, with a weight of [inputs, outputs]
// qmatmul TENSOR WEIGHT SCALES BIAS [add=TENSOR] act= out=
#include <algorithm>

#include "execute/layer_call.h"
#include "ops/op.h"
#include "plan/shapes.h"
#include "program/checks.h"

namespace lth {
namespace {

void parse(Operands& operands, Instr& instr) {
  operands.weights(def_of(instr).int8_weights, instr);
  instr.window = operands.window();
  instr.groups = operands.number("groups=", 1, kMaxChannels);
  if (operands.has("add=")) instr.add = operands.keyed_tensor("add=");
  instr.act = operands.act();
}

void parse_quantized(Operands& operands, Instr& instr) {
  parse(operands, instr);
  operands.out(true, instr);
}

bool steps_by_pixels(const Window& w) {
  return w.kh == 1 && w.kw == 1 && w.sh == 1 && w.sw == 1 && w.pt + w.pl + w.pb + w.pr == 0 && w.dh == 1 && w.dw == 1;
}

void check(const Fields& line, const Program& program, Instr& instr) {
  const std::vector<int64_t>& dims = program.weights[instr.weight].dims;
  const int in = program.instrs[instr.args[0]].channels;
  if (dims.size() < 2) line.fail("the weight of a conv has one dimension");
  instr.channels = checked_channels(line, dims[0]);
  if (in % instr.groups || instr.channels % instr.groups) {
    line.fail(std::to_string(instr.groups) + " groups do not divide " + std::to_string(in) + " channels into " +
              std::to_string(instr.channels));
  }
  if (instr.rows && (!steps_by_pixels(instr.window) || instr.groups != 1)) {
    line.fail("a conv of rows has a 1x1 kernel with stride 1, no padding and one group");
  }
  if (instr.rows && dims.size() == 2) {
    expect_dims(line, "the weight", dims, {instr.channels, in});
  } else {
    expect_dims(line, "the weight", dims, {instr.channels, in / instr.groups, instr.window.kh, instr.window.kw});
  }
  check_constant_types(line, program, instr);
  if (instr.add >= 0) expect_channels(line, program, instr.add, instr.channels);
}

void check_quantized(const Fields& line, const Program& program, Instr& instr) {
  check(line, program, instr);
  const int in = program.instrs[instr.args[0]].channels;
  const bool whole = instr.groups == 1 || (whole_cells(in / instr.groups) && whole_cells(instr.channels / instr.groups));
  if (whole != (instr.op == Op::kQConv)) {
    line.fail(whole ? "one group, and groups that take and make a multiple of 4 channels, are those of a qconv"
                    : "groups of a qconv take and make a multiple of 4 channels; others are those of a qgrouped");
  }
  if (!instr.quantized && instr.add >= 0) line.fail("nothing is added where float32 is made");
}

void parse_matmul(Operands& operands, Instr& instr) {
  operands.weights(def_of(instr).int8_weights, instr);
  if (operands.has("add=")) instr.add = operands.keyed_tensor("add=");
  instr.act = operands.act();
}

void parse_quantized_matmul(Operands& operands, Instr& instr) {
  parse_matmul(operands, instr);
  operands.out(true, instr);
}

void check_matmul(const Fields& line, const Program& program, Instr& instr) {
  const std::vector<int64_t>& dims = program.weights[instr.weight].dims;
  if (!instr.rows) line.fail("a matmul takes rows, and t" + std::to_string(instr.args[0]) + " is planes");
  if (dims.size() != 2) line.fail("the weight of a matmul has " + std::to_string(dims.size()) + " dimensions");
  const int in = program.instrs[instr.args[0]].channels;
  instr.channels = checked_channels(line, dims[1]);
  expect_dims(line, "the weight", dims, {in, instr.channels});
  check_constant_types(line, program, instr);
  if (instr.add >= 0) expect_channels(line, program, instr.add, instr.channels);
}

void check_quantized_matmul(const Fields& line, const Program& program, Instr& instr) {
  check_matmul(line, program, instr);
  if (!instr.quantized && instr.add >= 0) line.fail("nothing is added where float32 is made");
}

void plan(const Compiled& c, Plan& plan, int i) {
  plan.instrs[i].tiles = tiles_of(c, i, plan.tensors[i].plane, c.program.instrs[i].window);
  plan_window(c, plan, i);
}

// Of images whose planes have one pixel.
void run_pixels(Call& call, int i, const Instr& in, const PixelLayer& layer) {
  const Finish finish = finish_of(in.act);
  const size_t made = static_cast<size_t>(layer.blocks) * kPixelLines * call.isa.lanes;
  for_each_task(call.parallel, call.tensor(i).n, [&](int worker, int64_t image) {
    const int n = static_cast<int>(image);
    const size_t bytes = (made + static_cast<size_t>(layer.inputs)) * sizeof(float);
    auto* const out = static_cast<float*>(call.workspace.workers[worker].tile.at_least(bytes));
    float* const x = out + made;
    for (int c = 0; c < layer.inputs; ++c) x[c] = *call.plane(in.args[0], n, c);
    call.isa.pixel_layer(layer.weights.data(), layer.bias.data(), x, layer.inputs, layer.blocks, finish, out);
    for (int c = 0; c < in.channels; ++c) std::fill_n(call.plane(i, n, c), call.cells(i), out[c]);
  });
}

// The planes of a tensor become cells of two channels, rounded to bf16.
void round(Call& call, int x) {
  const TensorPlan& t = call.tensor(x);
  const Planes made = call.rounded(x);
  const int planes = (t.channels + 1) / 2;
  for_each_task(call.parallel, int64_t{t.n} * planes, [&](int, int64_t task) {
    const int n = static_cast<int>(task / planes), even = 2 * static_cast<int>(task % planes);
    const float* const odd = even + 1 < t.channels ? call.plane(x, n, even + 1) : nullptr;
    auto* const out = reinterpret_cast<uint32_t*>(made.first) + n * made.image + even / 2 * made.channel;
    call.isa.bf16->join(call.plane(x, n, even), odd, call.cells(x), out);
  });
}

void run(Call& call, int i, const Instr& in) {
  const PixelLayer& pixels = call.compiled.pixel_layers[i];
  if (pixels.inputs > 0) return run_pixels(call, i, in, pixels);
  const Window& w = in.window;
  ConvCall conv = layer_call(call, i, in);
  conv.out_h = call.tensor(i).plane.h;
  conv.out_w = call.tensor(i).plane.w;
  conv.contiguous = w.kh * w.kw * w.sh * w.sw == 1 && w.pt + w.pl == 0 &&
                    same_plane(call.tensor(i).plane, call.tensor(in.args[0]).plane);
  const int output = call.compiled.writes_output[i];
  if (output >= 0) conv.pixels = call.outputs[output];
  if (call.tensor(i).view.buffer >= 0) conv.out = call.planes(i);
  if (conv.conv->is_bf16 && call.tensor(i).rounded.buffer >= 0 && conv.conv->dense.form != DenseForm::kNone) conv.rounded = call.rounded(i);
  if (in.add >= 0) conv.add = call.planes(in.add);
  if (call.plan.instrs[i].rounds) round(call, in.args[0]);
  run_layer(call, i, in, conv);
}

constexpr OpDef conv() {
  OpDef op;
  op.name = "conv";
  op.bf16_weights = true;
  op.parse = parse;
  op.check = check;
  op.shape = windowed_shape;
  op.plan = plan;
  op.run = run;
  return op;
}

constexpr OpDef qconv() {
  OpDef op = conv();
  op.name = "qconv";
  op.bf16_weights = false;
  op.takes = Takes::kQuantized;
  op.int8_weights = true;
  op.parse = parse_quantized;
  op.check = check_quantized;
  return op;
}

constexpr OpDef qgrouped() {
  OpDef op = qconv();
  op.name = "qgrouped";
  op.since = 3;
  return op;
}

constexpr OpDef matmul() {
  OpDef op = conv();
  op.name = "matmul";
  op.since = 4;
  op.inputs_first = true;
  op.parse = parse_matmul;
  op.check = check_matmul;
  return op;
}

constexpr OpDef qmatmul() {
  OpDef op = matmul();
  op.name = "qmatmul";
  op.bf16_weights = false;
  op.since = 4;
  op.takes = Takes::kQuantized;
  op.int8_weights = true;
  op.parse = parse_quantized_matmul;
  op.check = check_quantized_matmul;
  return op;
}

}  // namespace

extern constexpr OpDef kConvOp = conv(), kQConvOp = qconv(), kQGroupedOp = qgrouped(), kMatMulOp = matmul(),
    kQMatMulOp = qmatmul();

}  // namespace lth
