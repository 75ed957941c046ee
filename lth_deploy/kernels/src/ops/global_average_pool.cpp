// globalaveragepool TENSOR: of each channel the mean of its plane
#include <algorithm>

#include "execute/call.h"
#include "ops/op.h"
#include "plan/shapes.h"

namespace lth {
namespace {

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

}  // namespace

extern constexpr OpDef kGlobalAveragePoolOp = global_average_pool();

}  // namespace lth
