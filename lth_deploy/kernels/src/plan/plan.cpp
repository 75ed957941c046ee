#include "plan/plan.h"

namespace lth {
namespace {

constexpr int64_t kMaxElements = (int64_t{1} << 31) - 1;

std::string text(const TensorPlan& t) {
  return std::to_string(t.n) + "x" + std::to_string(t.channels) + "x" + std::to_string(t.plane.H) + "x" +
         std::to_string(t.plane.W);
}

[[noreturn]] void refuse(int instr, const std::string& what) { throw Error("region: t" + std::to_string(instr) + ": " + what); }

int conv_size(int instr, int size, int kernel, int stride, int pads, int dilation) {
  const int64_t left = static_cast<int64_t>(size) + pads - (static_cast<int64_t>(kernel - 1) * dilation + 1);
  if (left < 0) refuse(instr, "the window is larger than its input of " + std::to_string(size) + " pixels and their padding");
  return static_cast<int>(left / stride) + 1;
}

class Planner {
 public:
  Planner(const Compiled& c, const std::vector<Shape>& inputs) : c_(c), inputs_(inputs), grid_y_(c.isa->lanes / kGridX) {}

  std::vector<TensorPlan> tensors() {
    if (static_cast<int>(inputs_.size()) != c_.program.inputs) {
      throw Error("region: " + std::to_string(c_.program.inputs) + " activations expected, " +
                  std::to_string(inputs_.size()) + " given");
    }
    for (size_t i = 0; i < c_.program.instrs.size(); ++i) add(static_cast<int>(i));
    return std::move(found_);
  }

 private:
  void add(int i) {
    const Instr& in = c_.program.instrs[i];
    TensorPlan t;
    t.channels = in.channels;
    t.planes = in.bytes ? (in.channels + 3) / 4 : in.channels;
    switch (in.op) {
      case Op::kLoad: load(i, in, t); break;
      case Op::kLoadRows: load_rows(i, in, t); break;
      case Op::kResize: {
        const TensorPlan& like = found_[in.args[1]];
        t.n = found_[in.args[0]].n;
        if (like.n != t.n) refuse(i, "t" + std::to_string(in.args[1]) + " has another batch size");
        t.plane = plane_of(like.plane.H, like.plane.W, grid_y_);
        break;
      }
      case Op::kConv:
      case Op::kQConv:
      case Op::kMaxPool: windowed(i, in, t); break;
      case Op::kConvTranspose:
      case Op::kQConvTranspose: {
        const TensorPlan& x = found_[in.args[0]];
        t.n = x.n;
        const int64_t H = int64_t{x.plane.H} * in.window.sh, W = int64_t{x.plane.W} * in.window.sw;
        limit(i, t.n, t.channels, H, W);
        t.plane = plane_of(static_cast<int>(H), static_cast<int>(W), grid_y_);
        break;
      }
      default: same(i, in, t);
    }
    limit(i, t.n, t.channels, t.plane.H, t.plane.W);
    if (in.add >= 0) match(i, t, in.add);
    found_.push_back(t);
  }

  void load(int i, const Instr& in, TensorPlan& t) const {
    const Shape& s = inputs_[in.args[0]];
    if (s.rank != 4 || s.dims[1] != in.channels) {
      refuse(i, "input " + std::to_string(in.args[0]) + " must be [N, " + std::to_string(in.channels) + ", H, W]");
    }
    limit(i, s.dims[0], s.dims[1], s.dims[2], s.dims[3]);
    t.n = static_cast<int>(s.dims[0]);
    t.plane = plane_of(static_cast<int>(s.dims[2]), static_cast<int>(s.dims[3]), grid_y_);
  }

  void load_rows(int i, const Instr& in, TensorPlan& t) const {
    const Shape& s = inputs_[in.args[0]];
    if (s.rank != 2 || s.dims[1] != in.channels) {
      refuse(i, "input " + std::to_string(in.args[0]) + " must be [N, " + std::to_string(in.channels) + "]");
    }
    limit(i, s.dims[0], s.dims[1], 1, 1);
    t.n = 1;
    t.plane = plane_of_rows(static_cast<int>(s.dims[0]), grid_y_);
  }

  void windowed(int i, const Instr& in, TensorPlan& t) const {
    const TensorPlan& x = found_[in.args[0]];
    const Window& k = in.window;
    t.n = x.n;
    const bool pointwise = k.kh == 1 && k.kw == 1 && k.sh == 1 && k.sw == 1 && k.pt + k.pl + k.pb + k.pr == 0;
    if (pointwise) {
      t.plane = x.plane;
      return;
    }
    const int H = conv_size(i, x.plane.H, k.kh, k.sh, k.pt + k.pb, k.dh);
    const int W = conv_size(i, x.plane.W, k.kw, k.sw, k.pl + k.pr, k.dw);
    t.plane = plane_of(H, W, grid_y_);
  }

  void same(int i, const Instr& in, TensorPlan& t) const {
    t.n = found_[in.args[0]].n;
    t.plane = found_[in.args[0]].plane;
    for (size_t a = 1; a < in.args.size(); ++a) match(i, t, in.args[a]);
  }

  void match(int i, const TensorPlan& t, int other) const {
    const TensorPlan& o = found_[other];
    if (o.n != t.n || o.plane.H != t.plane.H || o.plane.W != t.plane.W) {
      refuse(i, text(t) + " and t" + std::to_string(other) + " (" + text(o) + ") differ in batch, height or width");
    }
  }

  void limit(int i, int64_t n, int64_t channels, int64_t H, int64_t W) const {
    if (n < 1 || H < 1 || W < 1) refuse(i, "a tensor is empty");
    // With whole lines in every direction, so that no product of sizes overflows later on.
    const double cells = static_cast<double>(n) * static_cast<double>(channels) * static_cast<double>(H + 3) * static_cast<double>(W + 3);
    if (cells > static_cast<double>(kMaxElements)) refuse(i, "a tensor has more than 2^31 - 1 elements");
  }

  const Compiled& c_;
  const std::vector<Shape>& inputs_;
  int grid_y_;
  std::vector<TensorPlan> found_;
};

std::vector<Tile> tiles_of(const PackedConv& conv, const PlaneShape& out, const Window& window, const Isa& isa) {
  return conv.dense.form != DenseForm::kNone ? choose_dense_tiles(conv, out, window) : choose_tiles(conv, out, isa);
}

void plan_instr(const Compiled& c, Plan& plan, int i) {
  const Instr& in = c.program.instrs[i];
  const TensorPlan& t = plan.tensors[i];
  InstrPlan& p = plan.instrs[i];
  const int lanes = c.isa->lanes;
  switch (in.op) {
    case Op::kConv:
    case Op::kQConv:
      p.tiles = tiles_of(c.convs[c.conv_of[i]], t.plane, in.window, *c.isa);
      p.map = window_map(plan.tensors[in.args[0]].plane, t.plane, in.window, lanes);
      break;
    case Op::kConvTranspose:
    case Op::kQConvTranspose: {
      const Buffer& scratch = plan.buffers[p.scratch.buffer];
      const int planes = scratch.planes / (in.window.sh * in.window.sw);
      p.tiles = tiles_of(c.convs[c.conv_of[i]], plan.tensors[in.args[0]].plane, Window{}, *c.isa);
      p.phases = phase_map(plan.tensors[in.args[0]].plane, t.plane, in.window.sh, in.window.sw,
                           planes * static_cast<int>(scratch.cells), lanes);
      break;
    }
    case Op::kMaxPool: p.map = window_map(plan.tensors[in.args[0]].plane, t.plane, in.window, lanes); break;
    case Op::kResize:
      if (in.resampling == Resampling::kNearest) {
        p.map = nearest_map(plan.tensors[in.args[0]].plane, t.plane, lanes);
      } else {
        p.linear = linear_map(plan.tensors[in.args[0]].plane, t.plane, in.resampling);
      }
      break;
    default: break;
  }
}

// Rows of all matrices, which must agree; 0 where there are none.
int64_t rows_of(const Program& program, const std::vector<Shape>& inputs) {
  int64_t rows = 0;
  for (const Instr& in : program.instrs) {
    if (in.op != Op::kLoadRows) continue;
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

std::shared_ptr<const Plan> make_plan(const Compiled& c, const std::vector<Shape>& inputs) {
  auto plan = std::make_shared<Plan>();
  plan->tensors = Planner(c, inputs).tensors();
  plan->rows = rows_of(c.program, inputs);
  plan->outputs = output_shapes(c.program, plan->tensors, plan->rows);
  plan->instrs.resize(plan->tensors.size());
  place_tensors(c, *plan);
  for (size_t i = 0; i < plan->instrs.size(); ++i) plan_instr(c, *plan, static_cast<int>(i));
  return plan;
}

}  // namespace lth
