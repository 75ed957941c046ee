// averagepool TENSOR kernel= stride= pads= dilation= include_pads=0|1: sums in the order of the window, divided by the
// number of taps inside of the image, or with include_pads by that of all taps. The mean of no pixel is 0.
// qaveragepool TENSOR kernel= stride= pads= dilation= include_pads=0|1 out=: of a quantized tensor; padding is the real 0.
#include <cstring>

#include "execute/call.h"
#include "ops/op.h"
#include "plan/shapes.h"

namespace lth {
namespace {

void parse(Operands& operands, Instr& instr) {
  instr.args = {operands.tensor()};
  instr.window = operands.window();
  instr.option = operands.number("include_pads=", 0, 1);
}

void parse_quantized(Operands& operands, Instr& instr) {
  parse(operands, instr);
  operands.out(false, instr);
}

void plan(const Compiled& c, Plan& plan, int i) {
  plan_window(c, plan, i);
  order_by_taps(plan.instrs[i].map, c.program.instrs[i].window, plan.tensors[i].plane);
}

// How many of the taps that line i reads are inside of the image, for row or column p of the lane grid.
int inside(const std::vector<Axis>& axis, int taps, int count, int i, int p) {
  int n = 0;
  for (int tap = 0; tap < taps; ++tap) n -= axis[tap * count + i].inside[p];
  return n;
}

// How many pixels of the image each cell of an output plane is a sum of.
std::vector<float> pixels_inside(const Call& call, int i, const Instr& in) {
  const Window& k = in.window;
  const Mapping& map = call.plan.instrs[i].map;
  const PlaneShape& s = call.tensor(i).plane;
  std::vector<float> result(call.cells(i));
  float* to = result.data();
  for (int y = 0; y < s.h; ++y) {
    for (int x = 0; x < s.w; ++x) {
      for (int lane = 0; lane < call.isa.lanes; ++lane, ++to) {
        const int rows = inside(map.rows, k.kh, s.h, y, lane / kGridX);
        const int columns = inside(map.columns, k.kw, s.w, x, lane % kGridX);
        *to = static_cast<float>(rows * columns);
      }
    }
  }
  return result;
}

// What the sum of so many pixels is divided by.
float divisor(const Instr& in, float pixels) {
  return in.option != 0 ? static_cast<float>(in.window.kh * in.window.kw) : std::max(1.f, pixels);
}

// Cells are a multiple of four. The instruction set's own vectors are not known here.
void divide(float* cells, const float* by, size_t n) {
  typedef float Four __attribute__((vector_size(16)));
  for (size_t i = 0; i < n; i += 4) {
    Four x, y;
    std::memcpy(&x, cells + i, sizeof x);
    std::memcpy(&y, by + i, sizeof y);
    x /= y;
    std::memcpy(cells + i, &x, sizeof x);
  }
}

// f(taps, n, plane, first) for each row of lines of the result, from cell `first` on: what each tap of the window reads for
// it, in lanes of the output, with zeros outside of the image.
template <class F>
void each_row_of_taps(Call& call, int i, const Instr& in, const F& f) {
  const Window& k = in.window;
  const LineMap map = call.plan.instrs[i].map.view();
  const PlaneShape& out = call.tensor(i).plane;
  const PlaneShape row{out.H, out.W, 1, out.w};
  const auto taps = static_cast<size_t>(k.kh * k.kw);
  const size_t row_cells = static_cast<size_t>(out.w) * call.isa.lanes;
  call.each_plane_of_workers(i, [&](int worker, int n, int c) {
    auto* const scratch =
        static_cast<uint32_t*>(call.workspace.workers[worker].tile.at_least(taps * row_cells * sizeof(uint32_t)));
    std::vector<const uint32_t*> at(taps);
    for (size_t tap = 0; tap < taps; ++tap) at[tap] = scratch + tap * row_cells;
    for (int y = 0; y < out.h; ++y) {
      for (size_t tap = 0; tap < taps; ++tap) {
        const int ky = static_cast<int>(tap) / k.kw, kx = static_cast<int>(tap) % k.kw;
        const LineMap of_tap{map.rows + ky * out.h + y, map.columns + kx * out.w, map.source_w, map.aligned};
        call.isa.resample(call.cells_of(in.args[0], n, c), of_tap, row, 0, scratch + tap * row_cells);
      }
      f(at, n, c, static_cast<size_t>(y) * row_cells);
    }
  });
}

void run(Call& call, int i, const Instr& in) {
  const PlaneShape& out = call.tensor(i).plane;
  const int taps = in.window.kh * in.window.kw;
  const std::vector<float> ones(static_cast<size_t>(taps), 1.f);
  std::vector<float> by = pixels_inside(call, i, in);
  for (float& cell : by) cell = divisor(in, cell);
  each_row_of_taps(call, i, in, [&](const std::vector<const uint32_t*>& at, int n, int c, size_t first) {
    float* const to = call.plane(i, n, c) + first;
    call.isa.weighted_sum(reinterpret_cast<const float* const*>(at.data()), ones.data(), taps, out.w, to);
    divide(to, by.data() + first, static_cast<size_t>(out.w) * call.isa.lanes);
  });
}

void run_quantized(Call& call, int i, const Instr& in) {
  const int taps = in.window.kh * in.window.kw;
  const Quantization& x = call.quantization(in.args[0]);
  AlignedBytes memory;
  auto* const offset = static_cast<float*>(memory.at_least(2 * call.cells(i) * sizeof(float)));
  float* const factor = offset + call.cells(i);
  const std::vector<float> pixels = pixels_inside(call, i, in);
  for (size_t cell = 0; cell < pixels.size(); ++cell) {
    offset[cell] = -pixels[cell] * static_cast<float>(x.zero_point);
    factor[cell] = x.scale / divisor(in, pixels[cell]) / in.quantization.scale;
  }
  each_row_of_taps(call, i, in, [&](const std::vector<const uint32_t*>& at, int n, int c, size_t first) {
    call.isa.average_quantized(at.data(), taps, offset + first, factor + first, call.tensor(i).plane.w,
                               in.quantization.zero_point, call.cells_of(i, n, c) + first);
  });
}

constexpr OpDef average_pool() {
  OpDef op;
  op.name = "averagepool";
  op.since = 2;
  op.planes_only = true;
  op.parse = parse;
  op.shape = windowed_shape;
  op.plan = plan;
  op.run = run;
  return op;
}

constexpr OpDef quantized_average_pool() {
  OpDef op = average_pool();
  op.name = "qaveragepool";
  op.since = 5;
  op.takes = Takes::kQuantized;
  op.parse = parse_quantized;
  op.run = run_quantized;
  return op;
}

}  // namespace

extern constexpr OpDef kAveragePoolOp = average_pool(), kQAveragePoolOp = quantized_average_pool();

}  // namespace lth
