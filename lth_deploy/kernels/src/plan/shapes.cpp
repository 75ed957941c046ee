#include "plan/shapes.h"

#include "ops/op.h"

namespace lth {
namespace {

constexpr int64_t kMaxElements = (int64_t{1} << 31) - 1;

std::string text(const TensorPlan& t) {
  return std::to_string(t.n) + "x" + std::to_string(t.channels) + "x" + std::to_string(t.plane.H) + "x" +
         std::to_string(t.plane.W);
}

// The rule of most operators: the result has batch and plane of every argument.
void same_shape(const ShapeRules& rules, const Instr& in, TensorPlan& t) {
  t.n = rules.tensor(in.args[0]).n;
  t.plane = rules.tensor(in.args[0]).plane;
  for (size_t a = 1; a < in.args.size(); ++a) rules.match(t, in.args[a]);
}

}  // namespace

void ShapeRules::refuse(const std::string& what) const {
  throw Error("region: t" + std::to_string(instr_) + ": " + what);
}

void ShapeRules::limit(int64_t n, int64_t channels, int64_t H, int64_t W) const {
  if (n < 1 || H < 1 || W < 1) refuse("a tensor is empty");
  // With whole lines in every direction, so that no product of sizes overflows later on.
  const double cells = static_cast<double>(n) * static_cast<double>(channels) * static_cast<double>(H + 3) * static_cast<double>(W + 3);
  if (cells > static_cast<double>(kMaxElements)) refuse("a tensor has more than 2^31 - 1 elements");
}

void ShapeRules::match(const TensorPlan& t, int other) const {
  const TensorPlan& o = tensors_[other];
  if (o.n == t.n && o.plane.H == t.plane.H && o.plane.W == t.plane.W) return;
  refuse(text(t) + " and t" + std::to_string(other) + " (" + text(o) + ") differ in batch, height or width");
}

int ShapeRules::size(int in, int kernel, int stride, int pads, int dilation) const {
  const int64_t left = static_cast<int64_t>(in) + pads - (static_cast<int64_t>(kernel - 1) * dilation + 1);
  if (left < 0) refuse("the window is larger than its input of " + std::to_string(in) + " pixels and their padding");
  return static_cast<int>(left / stride) + 1;
}

PlaneShape ShapeRules::windowed(const PlaneShape& x, const Window& k) const {
  const bool pointwise = k.kh == 1 && k.kw == 1 && k.sh == 1 && k.sw == 1 && k.pt + k.pl + k.pb + k.pr == 0;
  if (pointwise) return x;
  const int H = size(x.H, k.kh, k.sh, k.pt + k.pb, k.dh);
  return plane(H, size(x.W, k.kw, k.sw, k.pl + k.pr, k.dw));
}

void windowed_shape(const ShapeRules& rules, const Instr& in, TensorPlan& t) {
  const TensorPlan& x = rules.tensor(in.args[0]);
  t.n = x.n;
  t.plane = rules.windowed(x.plane, in.window);
}

std::vector<TensorPlan> infer_shapes(const Program& program, const std::vector<Shape>& inputs, int grid_y) {
  if (static_cast<int>(inputs.size()) != program.inputs) {
    throw Error("region: " + std::to_string(program.inputs) + " activations expected, " +
                std::to_string(inputs.size()) + " given");
  }
  std::vector<TensorPlan> tensors;
  for (size_t i = 0; i < program.instrs.size(); ++i) {
    const Instr& in = program.instrs[i];
    const ShapeRules rules(inputs, tensors, static_cast<int>(i), grid_y);
    TensorPlan t;
    t.channels = in.channels;
    t.planes = in.quantized ? (in.channels + 3) / 4 : in.channels;
    const auto rule = def_of(in).shape;
    (rule != nullptr ? rule : same_shape)(rules, in, t);
    rules.limit(t.n, t.channels, t.plane.H, t.plane.W);
    if (in.add >= 0) rules.match(t, in.add);
    tensors.push_back(t);
  }
  return tensors;
}

}  // namespace lth
