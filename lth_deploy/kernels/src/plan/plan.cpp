#include "plan/plan.h"

#include <algorithm>

#include "ops/op.h"
#include "plan/shapes.h"

namespace lth {
namespace {

// The dimensions of a matrix but for its channels, which come last.
std::vector<int64_t> row_dims_of(const Shape& shape) { return {shape.dims.begin(), shape.dims.begin() + shape.rank - 1}; }

std::string text(const std::vector<int64_t>& dims) {
  std::string result;
  for (int64_t dim : dims) result += (result.empty() ? "" : " x ") + std::to_string(dim);
  return result;
}

// Of all matrices, which must agree; empty where there are none.
std::vector<int64_t> common_row_dims(const Program& program, const std::vector<Shape>& inputs) {
  std::vector<int64_t> dims;
  for (const Instr& in : program.instrs) {
    if (!in.rows || def_of(in).takes != Takes::kInput) continue;
    const std::vector<int64_t> here = row_dims_of(inputs[in.args[0]]);
    if (!dims.empty() && dims != here) throw Error("region: matrices with " + text(dims) + " and with " + text(here) + " rows");
    dims = here;
  }
  return dims;
}

int64_t product(const std::vector<int64_t>& dims) {
  int64_t all = 1;
  for (int64_t dim : dims) all *= dim;
  return all;
}

bool has_images(const Shape& shape) { return shape.dims[0] != 0 && (shape.rank != 3 || shape.dims[1] != 0); }

// What depends on an input without images or rows has none either: a head whose detector found nothing.
std::vector<bool> empty_tensors(const Program& program, const std::vector<Shape>& inputs) {
  std::vector<bool> empty;
  for (const Instr& in : program.instrs) {
    if (def_of(in).takes == Takes::kInput) {
      empty.push_back(!has_images(inputs[in.args[0]]));
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
  for (Shape& shape : inputs) {
    shape.dims[0] = std::max<int64_t>(shape.dims[0], 1);
    if (shape.rank == 3) shape.dims[1] = std::max<int64_t>(shape.dims[1], 1);
  }
  return inputs;
}

std::vector<Shape> output_shapes(const Program& program, const Plan& plan) {
  std::vector<Shape> shapes;
  for (const Output& o : program.outputs) {
    const TensorPlan& t = plan.tensors[o.tensor];
    if (o.rows) {
      Shape rows{static_cast<int>(plan.row_dims.size()) + 1, {1, 1, 1, 1}};
      std::copy(plan.row_dims.begin(), plan.row_dims.end(), rows.dims.begin());
      rows.dims[rows.rank - 1] = t.channels;
      shapes.push_back(rows);
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
  return conv.dense.form != DenseForm::kNone ? choose_dense_tiles(conv, out, window, c.writes_output[instr] >= 0) : choose_tiles(conv, out, *c.isa);
}

void plan_window(const Compiled& c, Plan& plan, int i) {
  const Instr& in = c.program.instrs[i];
  plan.instrs[i].map = window_map(plan.tensors[in.args[0]].plane, plan.tensors[i].plane, in.window, c.isa->lanes);
}

std::shared_ptr<const Plan> make_plan(const Compiled& c, const std::vector<Shape>& inputs) {
  auto plan = std::make_shared<Plan>();
  plan->tensors = infer_shapes(c.program, with_one_at_least(inputs), c.isa->lanes / kGridX);
  plan->empty = empty_tensors(c.program, inputs);
  plan->row_dims = common_row_dims(c.program, inputs);
  plan->rows = product(plan->row_dims);
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
