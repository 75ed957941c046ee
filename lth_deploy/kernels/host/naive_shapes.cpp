#include "naive_shapes.h"

#include <algorithm>

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

Plane window_plane(const Plane& in, int64_t channels, const Window& w) {
  return {in.n, channels, window_size(in.h, w.pt, w.pb, w.kh, w.dh, w.sh),
          window_size(in.w, w.pl, w.pr, w.kw, w.dw, w.sw)};
}

void expect_same_plane(const Plane& a, const Plane& b) {
  if (a.n != b.n || a.h != b.h || a.w != b.w) throw Error("tensors of different planes");
}

}  // namespace

std::vector<Plane> naive_planes(const Program& program, const std::vector<Shape>& shapes) {
  if (shapes.size() != static_cast<size_t>(program.inputs)) throw Error("another number of inputs");
  std::vector<Plane> planes;
  for (const Instr& instr : program.instrs) {
    Plane plane;
    if (instr.op == Op::kLoad || instr.op == Op::kLoadRows) {
      const Shape& shape = shapes[instr.args[0]];
      if (shape.rank != (instr.rows ? 2 : 4)) throw Error("an input of another rank");
      plane = {shape.dims[0], shape.dims[1], instr.rows ? 1 : shape.dims[2], instr.rows ? 1 : shape.dims[3]};
      if (plane.c != instr.channels) throw Error("an input with other channels");
    } else {
      plane = planes[instr.args[0]];
      plane.c = instr.channels;
    }
    switch (instr.op) {
      case Op::kConv:
      case Op::kQConv:
      case Op::kMaxPool:
        plane = window_plane(planes[instr.args[0]], instr.channels, instr.window);
        if (instr.add >= 0) expect_same_plane(plane, planes[instr.add]);
        break;
      case Op::kConvTranspose:
      case Op::kQConvTranspose:
        plane.h *= instr.window.kh;
        plane.w *= instr.window.kw;
        break;
      case Op::kResize:
        if (plane.n != planes[instr.args[1]].n) throw Error("batches differ");
        plane.h = planes[instr.args[1]].h;
        plane.w = planes[instr.args[1]].w;
        break;
      case Op::kAdd:
      case Op::kQAdd:
      case Op::kConcat:
        for (int argument : instr.args) expect_same_plane(plane, planes[argument]);
        break;
      default:
        break;
    }
    check_size(plane);
    planes.push_back(plane);
  }
  return planes;
}

std::vector<Shape> naive_output_shapes(const Program& program, const std::vector<Plane>& planes) {
  std::vector<Shape> shapes;
  for (const Output& output : program.outputs) {
    const Plane& plane = planes[output.tensor];
    Shape shape;
    shape.rank = output.rows ? 2 : 4;
    shape.dims = {plane.n, plane.c, plane.h, plane.w};
    shapes.push_back(shape);
  }
  return shapes;
}

}  // namespace lth
