// maxpool TENSOR kernel= stride= pads= dilation=
#include "execute/call.h"
#include "ops/op.h"
#include "plan/shapes.h"

namespace lth {
namespace {

void parse(Operands& operands, Instr& instr) {
  instr.args = {operands.tensor()};
  instr.window = operands.window();
}

void run(Call& call, int i, const Instr& in) {
  const Window& k = in.window;
  const LineMap map = call.plan.instrs[i].map.view();
  const PlaneShape& out = call.tensor(i).plane;
  const int x = in.args[0];
  if (in.quantized) {
    call.each_plane(i, [&](int n, int c) {
      call.isa.max_pool_quantized(call.cells_of(x, n, c), map, out, k.kh, k.kw, k.sh, k.sw, k.dh, k.dw,
                                  call.cells_of(i, n, c));
    });
    return;
  }
  call.each_plane(i, [&](int n, int c) {
    call.isa.max_pool(call.plane(x, n, c), map, out, k.kh, k.kw, k.sh, k.sw, k.dh, k.dw, call.plane(i, n, c));
  });
}

constexpr OpDef max_pool() {
  OpDef op;
  op.name = "maxpool";
  op.takes = Takes::kEither;
  op.planes_only = true;
  op.parse = parse;
  op.shape = windowed_shape;
  op.plan = plan_window;
  op.run = run;
  return op;
}

}  // namespace

extern constexpr OpDef kMaxPoolOp = max_pool();

}  // namespace lth
