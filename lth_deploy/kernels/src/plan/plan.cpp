#include "plan/plan.h"

#include <algorithm>

#include "ops/op.h"
#include "plan/shapes.h"

namespace lth {
namespace {

// Rows of all matrices, which must agree; -1 where there are none.
int64_t rows_of(const Program& program, const std::vector<Shape>& inputs) {
  int64_t rows = -1;
  for (const Instr& in : program.instrs) {
    if (!in.rows || def_of(in).takes != Takes::kInput) continue;
    const int64_t here = inputs[in.args[0]].dims[0];
    if (rows >= 0 && rows != here) {
      throw Error("region: matrices with " + std::to_string(rows) + " and with " + std::to_string(here) + " rows");
    }
    rows = here;
  }
  return rows;
}

// What depends on an input without images or rows has none either: a head whose detector found nothing.
std::vector<bool> empty_tensors(const Program& program, const std::vector<Shape>& inputs) {
  std::vector<bool> empty;
  for (const Instr& in : program.instrs) {
    if (def_of(in).takes == Takes::kInput) {
      empty.push_back(inputs[in.args[0]].dims[0] == 0);
      continue;
    }
    const std::vector<int> arguments = arguments_of(in);
    const bool first = empty[arguments[0]];
    for (int argument : arguments) {
      if (empty[argument] == first) continue;
      throw Error("region: t" + std::to_string(empty.size()) + ": one of t" + std::to_string(arguments[0]) + " and t" +
                  std::to_string(argument) + " has no images, and the other has some");
    }
    empty.push_back(first);
  }
  return empty;
}

std::vector<Shape> with_one_at_least(std::vector<Shape> inputs) {
  for (Shape& shape : inputs) shape.dims[0] = std::max<int64_t>(shape.dims[0], 1);
  return inputs;
}

std::vector<Shape> output_shapes(const Program& program, const Plan& plan) {
  std::vector<Shape> shapes;
  for (const Output& o : program.outputs) {
    const TensorPlan& t = plan.tensors[o.tensor];
    if (o.rows) {
      shapes.push_back({2, {plan.rows, t.channels, 1, 1}});
    } else {
      shapes.push_back({4, {plan.empty[o.tensor] ? 0 : t.n, t.channels, t.plane.H, t.plane.W}});
    }
  }
  return shapes;
}

std::vector<Axis> by_taps(const std::vector<Axis>& axis, int taps, int count, int stride, int dilation) {
  std::vector<Axis> ordered;
  for (int tap = 0; tap < taps; ++tap) {
    for (int i = 0; i < count; ++i) ordered.push_back(axis[i * stride + tap * dilation]);
  }
  return ordered;
}

}  // namespace

void order_by_taps(Mapping& map, const Window& k, const PlaneShape& out) {
  map.rows = by_taps(map.rows, k.kh, out.h, k.sh, k.dh);
  map.columns = by_taps(map.columns, k.kw, out.w, k.sw, k.dw);
}

std::vector<Tile> tiles_of(const Compiled& c, int instr, const PlaneShape& out, const Window& window) {
  const PackedConv& conv = c.convs[c.conv_of[instr]];
  if (conv.depthwise.used()) return {};
  return conv.dense.form != DenseForm::kNone ? choose_dense_tiles(conv, out, window) : choose_tiles(conv, out, *c.isa);
}

void plan_window(const Compiled& c, Plan& plan, int i) {
  const Instr& in = c.program.instrs[i];
  plan.instrs[i].map = window_map(plan.tensors[in.args[0]].plane, plan.tensors[i].plane, in.window, c.isa->lanes);
}

std::shared_ptr<const Plan> make_plan(const Compiled& c, const std::vector<Shape>& inputs) {
  auto plan = std::make_shared<Plan>();
  plan->tensors = infer_shapes(c.program, with_one_at_least(inputs), c.isa->lanes / kGridX);
  plan->empty = empty_tensors(c.program, inputs);
  plan->rows = rows_of(c.program, inputs);
  plan->outputs = output_shapes(c.program, *plan);
  plan->instrs.resize(plan->tensors.size());
  place_tensors(c, *plan);
  for (size_t i = 0; i < plan->instrs.size(); ++i) {
    const auto prepare = def_of(c.program.instrs[i]).plan;
    if (prepare != nullptr) prepare(c, *plan, static_cast<int>(i));
  }
  return plan;
}

}  // namespace lth
