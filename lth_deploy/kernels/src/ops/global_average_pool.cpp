// globalaveragepool TENSOR: of each channel the mean of its plane
// qglobalaveragepool TENSOR act= out=: the same of the activation of a quantized tensor
#include <algorithm>

#include "execute/call.h"
#include "ops/op.h"
#include "plan/shapes.h"

namespace lth {
namespace {

constexpr size_t kMostLanes = 16;  // of a line: that of a pixel

void parse(Operands& operands, Instr& instr) { instr.args = {operands.tensor()}; }

void shape(const ShapeRules& rules, const Instr& in, TensorPlan& t) {
  t.n = rules.tensor(in.args[0]).n;
  t.plane = rules.plane(1, 1);
}

void run(Call& call, int i, const Instr& in) {
  const int x = in.args[0];
  const auto pixels = static_cast<float>(call.pixels(x));
  call.each_plane(x, [&](int n, int c) {
    const float mean = call.isa.sum_plane(call.plane(x, n, c), call.tensor(x).plane) / pixels;
    std::fill_n(call.plane(i, n, c), call.cells(i), mean);
  });
}

void parse_quantized(Operands& operands, Instr& instr) {
  parse(operands, instr);
  instr.act = operands.act();
  operands.out(false, instr);
}

void run_quantized(Call& call, int i, const Instr& in) {
  const int x = in.args[0];
  const Requantize requantize = activated_of(call.compiled.program, in);
  const auto pixels = static_cast<float>(call.pixels(x));
  const size_t cells = call.cells(i);
  call.each_plane(x, [&](int n, int c) {
    alignas(64) float means[4 * kMostLanes];
    float sums[4];
    call.isa.sum_quantized(call.cells_of(x, n, c), call.tensor(x).plane, requantize, sums);
    for (size_t k = 0; k < 4; ++k) std::fill_n(means + k * cells, cells, sums[k] / pixels);
    call.isa.quantize(means, cells, 4, cells, in.quantization, call.cells_of(i, n, c));
  });
}

constexpr OpDef global_average_pool() {
  OpDef op;
  op.name = "globalaveragepool";
  op.since = 3;
  op.planes_only = true;
  op.parse = parse;
  op.shape = shape;
  op.run = run;
  return op;
}

constexpr OpDef quantized_global_average_pool() {
  OpDef op = global_average_pool();
  op.name = "qglobalaveragepool";
  op.since = 5;
  op.takes = Takes::kQuantized;
  op.parse = parse_quantized;
  op.run = run_quantized;
  return op;
}

}  // namespace

extern constexpr OpDef kGlobalAveragePoolOp = global_average_pool(), kQGlobalAveragePoolOp = quantized_global_average_pool();

}  // namespace lth
