#include "shapes.h"

#include <algorithm>

#include "op.h"

namespace lth {
namespace {

constexpr int64_t kMaxElements = 2147483647;

void check_size(const Plane& p) {
  if (p.n < 0 || p.h < 1 || p.w < 1) throw Error("a plane without elements");
  int64_t elements = p.c;
  for (int64_t dim : {std::max<int64_t>(p.n, 1), p.h, p.w}) {
    if (dim > kMaxElements / elements) throw Error("a tensor of more than 2^31 - 1 elements");
    elements *= dim;
  }
}

int64_t window_size(int64_t in, int before, int after, int kernel, int dilation, int stride) {
  const int64_t span = in + before + after - (dilation * (kernel - 1) + 1);
  return span < 0 ? 0 : span / stride + 1;
}

// The rule of most operators.
void same_plane(const NaiveShapes& shapes, const Instr& instr, Plane& plane) {
  plane = shapes.planes[instr.args[0]];
  plane.c = instr.channels;
  for (int argument : instr.args) expect_same_plane(plane, shapes.planes[argument]);
}

}  // namespace

Plane window_plane(const Plane& in, int64_t channels, const Window& w) {
  return {in.n, channels, window_size(in.h, w.pt, w.pb, w.kh, w.dh, w.sh),
          window_size(in.w, w.pl, w.pr, w.kw, w.dw, w.sw)};
}

void expect_same_plane(const Plane& a, const Plane& b) {
  if (a.n != b.n || a.h != b.h || a.w != b.w) throw Error("tensors of different planes");
}

void naive_window_shape(const NaiveShapes& shapes, const Instr& instr, Plane& plane) {
  plane = window_plane(shapes.planes[instr.args[0]], instr.channels, instr.window);
  if (instr.add >= 0) expect_same_plane(plane, shapes.planes[instr.add]);
}

std::vector<Plane> naive_planes(const Program& program, const std::vector<Shape>& shapes) {
  if (shapes.size() != static_cast<size_t>(program.inputs)) throw Error("another number of inputs");
  std::vector<Plane> planes;
  for (const Instr& instr : program.instrs) {
    const auto rule = naive_op(instr.op).shape;
    Plane plane;
    (rule != nullptr ? rule : same_plane)({shapes, planes}, instr, plane);
    check_size(plane);
    planes.push_back(plane);
  }
  return planes;
}

std::vector<Shape> naive_output_shapes(const Program& program, const std::vector<Shape>& inputs, const std::vector<Plane>& planes) {
  const Shape* tokens = nullptr;
  for (const Instr& instr : program.instrs) {
    if (instr.op == Op::kLoadTokens) tokens = &inputs[instr.args[0]];
  }
  std::vector<Shape> shapes;
  for (const Output& output : program.outputs) {
    const Plane& plane = planes[output.tensor];
    Shape shape;
    shape.rank = output.rows ? 2 : 4;
    shape.dims = {plane.n, plane.c, plane.h, plane.w};
    if (output.rows && tokens != nullptr) shape = {3, {tokens->dims[0], tokens->dims[1], plane.c, 1}};
    shapes.push_back(shape);
  }
  return shapes;
}

}  // namespace lth
