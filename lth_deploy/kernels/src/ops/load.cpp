// load INPUT channels=C, loadrows INPUT channels=C and loadtokens INPUT channels=C: activation inputs of the node, as planes
// and as rows of a matrix, [N, C] or [N, T, C].
#include "execute/call.h"
#include "execute/input_pixels.h"
#include "ops/op.h"
#include "plan/shapes.h"

namespace lth {
namespace {

void parse(Operands& operands, Instr& instr) {
  instr.args = {operands.input()};
  instr.channels = operands.number("channels=", 1, kMaxChannels);
}

void shape(const ShapeRules& rules, const Instr& in, TensorPlan& t) {
  const Shape& s = rules.input(in.args[0]);
  if (s.rank != 4 || s.dims[1] != in.channels) {
    rules.refuse("input " + std::to_string(in.args[0]) + " must be [N, " + std::to_string(in.channels) + ", H, W]");
  }
  rules.limit(s.dims[0], s.dims[1], s.dims[2], s.dims[3]);
  t.n = static_cast<int>(s.dims[0]);
  t.plane = rules.plane(static_cast<int>(s.dims[2]), static_cast<int>(s.dims[3]));
}

void run(Call& call, int i, const Instr&) {
  const PlaneShape& plane = call.tensor(i).plane;
  call.each_plane(i, [&](int n, int c) { call.isa.load(input_pixels(call, i, n, c), plane, call.plane(i, n, c)); });
}

void mark_rows(const Fields&, const Program&, Instr& instr) { instr.rows = true; }

void shape_rows(const ShapeRules& rules, const Instr& in, TensorPlan& t) {
  const Shape& s = rules.input(in.args[0]);
  if (s.rank != 2 || s.dims[1] != in.channels) {
    rules.refuse("input " + std::to_string(in.args[0]) + " must be [N, " + std::to_string(in.channels) + "]");
  }
  rules.limit(s.dims[0], s.dims[1], 1, 1);
  t.n = 1;
  t.plane = rules.rows(static_cast<int>(s.dims[0]));
}

void shape_tokens(const ShapeRules& rules, const Instr& in, TensorPlan& t) {
  const Shape& s = rules.input(in.args[0]);
  if (s.rank != 3 || s.dims[2] != in.channels) {
    rules.refuse("input " + std::to_string(in.args[0]) + " must be [N, T, " + std::to_string(in.channels) + "]");
  }
  rules.limit(s.dims[0], s.dims[1], s.dims[2], 1);
  t.n = 1;
  t.plane = rules.rows(static_cast<int>(s.dims[0] * s.dims[1]));
}

void run_rows(Call& call, int i, const Instr&) {
  const TensorPlan& t = call.tensor(i);
  if (t.in_place) return;
  call.each_group(t.channels, [&](int first, int count) {
    call.isa.load_rows(call.loaded(i), static_cast<int>(call.plan.rows), t.channels, first, count, t.plane, 0, t.plane.w,
                       call.buffer(i).cells, call.plane(i, 0, first));
  });
}

constexpr OpDef load() {
  OpDef op;
  op.name = "load";
  op.takes = Takes::kInput;
  op.parse = parse;
  op.shape = shape;
  op.run = run;
  return op;
}

constexpr OpDef load_rows() {
  OpDef op = load();
  op.name = "loadrows";
  op.check = mark_rows;
  op.shape = shape_rows;
  op.run = run_rows;
  return op;
}

constexpr OpDef load_tokens() {
  OpDef op = load_rows();
  op.name = "loadtokens";
  op.since = 4;
  op.shape = shape_tokens;
  return op;
}

}  // namespace

extern constexpr OpDef kLoadOp = load(), kLoadRowsOp = load_rows(), kLoadTokensOp = load_tokens();

}  // namespace lth
