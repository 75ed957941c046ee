// resize TENSOR like=TENSOR [linear=half_pixel|asymmetric]: the nearest pixel, or of float32 bilinear interpolation.
// upsample TENSOR factor=F [linear=...]: the same to a plane that is F times as large in each direction.
#include <algorithm>
#include <numeric>
#include <vector>

#include "execute/call.h"
#include "ops/op.h"
#include "plan/shapes.h"
#include "program/checks.h"

namespace lth {
namespace {

Resampling resampling_of(const Instr& instr) { return static_cast<Resampling>(instr.option); }

void parse_how(Operands& operands, Instr& instr) {
  Resampling resampling = Resampling::kNearest;
  if (!operands.done()) {
    const int choice = operands.choice("linear=", {"half_pixel", "asymmetric"});
    resampling = choice == 0 ? Resampling::kHalfPixel : Resampling::kAsymmetric;
  }
  instr.option = static_cast<int>(resampling);
}

void parse(Operands& operands, Instr& instr) {
  instr.args = {operands.tensor(), operands.keyed_tensor("like=")};
  parse_how(operands, instr);
}

void parse_upsample(Operands& operands, Instr& instr) {
  instr.args = {operands.tensor()};
  instr.window.sh = instr.window.sw = operands.number("factor=", 2, 8);
  parse_how(operands, instr);
}

void check(const Fields& line, const Program& program, Instr& instr) {
  if (resampling_of(instr) != Resampling::kNearest) expect_quantized(line, program, instr.args[0], false);
}

void shape(const ShapeRules& rules, const Instr& in, TensorPlan& t) {
  const TensorPlan& like = rules.tensor(in.args[1]);
  t.n = rules.tensor(in.args[0]).n;
  if (like.n != t.n) rules.refuse("t" + std::to_string(in.args[1]) + " has another batch size");
  t.plane = rules.plane(like.plane.H, like.plane.W);
}

void upsampled_shape(const ShapeRules& rules, const Instr& in, TensorPlan& t) {
  const TensorPlan& x = rules.tensor(in.args[0]);
  t.n = x.n;
  const int64_t H = int64_t{x.plane.H} * in.window.sh, W = int64_t{x.plane.W} * in.window.sw;
  rules.limit(t.n, t.channels, H, W);
  t.plane = rules.plane(static_cast<int>(H), static_cast<int>(W));
}

void plan(const Compiled& c, Plan& plan, int i) {
  const Instr& in = c.program.instrs[i];
  const PlaneShape &from = plan.tensors[in.args[0]].plane, &to = plan.tensors[i].plane;
  const Resampling resampling = resampling_of(in);
  if (resampling == Resampling::kNearest) {
    plan.instrs[i].map = nearest_map(from, to, c.isa->lanes);
  } else {
    plan.instrs[i].linear = linear_map(from, to, resampling);
  }
}

void interpolate(Call& call, int i, int x) {
  const PlaneShape &from = call.tensor(x).plane, &to = call.tensor(i).plane;
  const size_t scratch = linear_cells(from, to, call.isa.lanes) * sizeof(float);
  call.each_plane_of_workers(i, [&](int worker, int n, int c) {
    call.isa.interpolate(call.plane(x, n, c), from, call.plan.instrs[i].linear.view(), to,
                         static_cast<float*>(call.workspace.workers[worker].tile.at_least(scratch)), call.plane(i, n, c));
  });
}

constexpr int kPlanes = 16;  // of a task: where lanes do not agree, what they take is worked out once for all of them

// Where lanes do not agree, a plane is a packed tile.
void gather(Call& call, int i, int x) {
  const TensorPlan& t = call.tensor(i);
  std::vector<int32_t> channels(static_cast<size_t>(t.planes));
  std::iota(channels.begin(), channels.end(), 0);
  const int batches = (t.planes + kPlanes - 1) / kPlanes;
  for_each_task(call.parallel, static_cast<int64_t>(t.n) * batches, [&](int worker, int64_t task) {
    const int n = static_cast<int>(task / batches), first = static_cast<int>(task % batches) * kPlanes;
    PackTile p;
    p.source = call.cells_of(x, n, 0);
    p.channel_cells = call.buffer(x).cells;
    p.channels = channels.data() + first;
    p.n_channels = std::min(kPlanes, t.planes - first);
    p.map = call.plan.instrs[i].map.view();
    p.n_rows = t.plane.h, p.n_cols = t.plane.w;
    p.pitch = t.plane.w;
    p.channel_lines = static_cast<int>(call.buffer(i).cells) / call.isa.lanes;
    p.tile = call.cells_of(i, n, first);
    const size_t row_cells = static_cast<size_t>(p.map.source_w) * call.isa.lanes;
    p.rows = static_cast<uint32_t*>(call.workspace.workers[worker].tile.at_least(row_cells * 4 * p.n_channels));
    call.isa.pack_tile(p);
  });
}

void run(Call& call, int i, const Instr& in) {
  const int x = in.args[0];
  if (resampling_of(in) != Resampling::kNearest) return interpolate(call, i, x);
  if (!call.plan.instrs[i].map.aligned) return gather(call, i, x);
  call.each_plane(i, [&](int n, int c) {
    call.isa.resample(call.cells_of(x, n, c), call.plan.instrs[i].map.view(), call.tensor(i).plane, 0,
                      call.cells_of(i, n, c));
  });
}

constexpr OpDef resize() {
  OpDef op;
  op.name = "resize";
  op.second_is_shape = true;
  op.takes = Takes::kEither;
  op.planes_only = true;
  op.parse = parse;
  op.check = check;
  op.shape = shape;
  op.plan = plan;
  op.run = run;
  return op;
}

constexpr OpDef upsample() {
  OpDef op = resize();
  op.name = "upsample";
  op.second_is_shape = false;
  op.since = 6;
  op.parse = parse_upsample;
  op.shape = upsampled_shape;
  return op;
}

}  // namespace

extern constexpr OpDef kResizeOp = resize(), kUpsampleOp = upsample();

}  // namespace lth
