#include "plan/plan.h"

#include "ops/op.h"
#include "plan/shapes.h"

namespace lth {
namespace {

// Rows of all matrices, which must agree; 0 where there are none.
int64_t rows_of(const Program& program, const std::vector<Shape>& inputs) {
  int64_t rows = 0;
  for (const Instr& in : program.instrs) {
    if (!in.rows || def_of(in).takes != Takes::kInput) continue;
    const int64_t here = inputs[in.args[0]].dims[0];
    if (rows != 0 && rows != here) {
      throw Error("region: matrices with " + std::to_string(rows) + " and with " + std::to_string(here) + " rows");
    }
    rows = here;
  }
  return rows;
}

std::vector<Shape> output_shapes(const Program& program, const std::vector<TensorPlan>& tensors, int64_t rows) {
  std::vector<Shape> shapes;
  for (const Output& o : program.outputs) {
    const TensorPlan& t = tensors[o.tensor];
    if (o.rows) {
      shapes.push_back({2, {rows, t.channels, 1, 1}});
    } else {
      shapes.push_back({4, {t.n, t.channels, t.plane.H, t.plane.W}});
    }
  }
  return shapes;
}

}  // namespace

std::vector<Tile> tiles_of(const Compiled& c, int instr, const PlaneShape& out, const Window& window) {
  const PackedConv& conv = c.convs[c.conv_of[instr]];
  return conv.dense.form != DenseForm::kNone ? choose_dense_tiles(conv, out, window) : choose_tiles(conv, out, *c.isa);
}

void plan_window(const Compiled& c, Plan& plan, int i) {
  const Instr& in = c.program.instrs[i];
  plan.instrs[i].map = window_map(plan.tensors[in.args[0]].plane, plan.tensors[i].plane, in.window, c.isa->lanes);
}

std::shared_ptr<const Plan> make_plan(const Compiled& c, const std::vector<Shape>& inputs) {
  auto plan = std::make_shared<Plan>();
  plan->tensors = infer_shapes(c.program, inputs, c.isa->lanes / kGridX);
  plan->rows = rows_of(c.program, inputs);
  plan->outputs = output_shapes(c.program, plan->tensors, plan->rows);
  plan->instrs.resize(plan->tensors.size());
  place_tensors(c, *plan);
  for (size_t i = 0; i < plan->instrs.size(); ++i) {
    const auto prepare = def_of(c.program.instrs[i]).plan;
    if (prepare != nullptr) prepare(c, *plan, static_cast<int>(i));
  }
  return plan;
}

}  // namespace lth
