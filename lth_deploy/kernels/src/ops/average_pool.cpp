// averagepool TENSOR kernel= stride= pads= dilation= include_pads=0|1: sums in the order of the window, divided by the
// number of taps inside of the image, or with include_pads by that of all taps. The mean of no pixel is 0.
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

// What each cell of an output plane is divided by.
std::vector<float> divisors(const Call& call, int i, const Instr& in) {
  const Window& k = in.window;
  const Mapping& map = call.plan.instrs[i].map;
  const PlaneShape& s = call.tensor(i).plane;
  std::vector<float> result(call.cells(i), static_cast<float>(k.kh * k.kw));
  if (in.option != 0) return result;
  float* to = result.data();
  for (int y = 0; y < s.h; ++y) {
    for (int x = 0; x < s.w; ++x) {
      for (int lane = 0; lane < call.isa.lanes; ++lane, ++to) {
        const int rows = inside(map.rows, k.kh, s.h, y, lane / kGridX);
        const int columns = inside(map.columns, k.kw, s.w, x, lane % kGridX);
        *to = static_cast<float>(std::max(1, rows * columns));
      }
    }
  }
  return result;
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

void run(Call& call, int i, const Instr& in) {
  const Window& k = in.window;
  const LineMap map = call.plan.instrs[i].map.view();
  const PlaneShape& out = call.tensor(i).plane;
  const PlaneShape row{out.H, out.W, 1, out.w};
  const int taps = k.kh * k.kw;
  const size_t row_cells = static_cast<size_t>(out.w) * call.isa.lanes;
  const std::vector<float> ones(static_cast<size_t>(taps), 1.f), by = divisors(call, i, in);
  call.each_plane_of_workers(i, [&](int worker, int n, int c) {
    // A row of lines of each tap, in lanes of the output: zeros outside of the image.
    auto* const scratch = static_cast<float*>(call.workspace.workers[worker].tile.at_least(taps * row_cells * sizeof(float)));
    std::vector<const float*> at(static_cast<size_t>(taps));
    for (int tap = 0; tap < taps; ++tap) at[tap] = scratch + tap * row_cells;
    for (int y = 0; y < out.h; ++y) {
      for (int tap = 0; tap < taps; ++tap) {
        const LineMap of_tap{map.rows + tap / k.kw * out.h + y, map.columns + tap % k.kw * out.w, map.source_w, map.aligned};
        call.isa.resample(call.cells_of(in.args[0], n, c), of_tap, row,
                          reinterpret_cast<uint32_t*>(scratch + tap * row_cells));
      }
      float* const to = call.plane(i, n, c) + y * row_cells;
      call.isa.weighted_sum(at.data(), ones.data(), taps, out.w, to);
      divide(to, by.data() + y * row_cells, row_cells);
    }
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

}  // namespace

extern constexpr OpDef kAveragePoolOp = average_pool();

}  // namespace lth
