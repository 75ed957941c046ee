// maxpool TENSOR kernel= stride= pads= dilation=: padding never wins
// zeromaxpool TENSOR kernel= stride= pads= dilation=: padding is 0
#include <numeric>
#include <vector>

#include "execute/call.h"
#include "execute/plane_windows.h"
#include "ops/op.h"
#include "plan/shapes.h"

namespace lth {
namespace {

constexpr uint32_t kMinusInfinity = 0xff800000u;

void parse(Operands& operands, Instr& instr) {
  instr.args = {operands.tensor()};
  instr.window = operands.window();
}

// The cell outside of the image: four of them where they are bytes.
uint32_t padding_of(const Call& call, const Instr& in) {
  if (in.op == Op::kMaxPool) return in.quantized ? 0 : kMinusInfinity;
  return in.quantized ? 0x01010101u * static_cast<uint32_t>(call.quantization(in.args[0]).zero_point) : 0;
}

PlaneWindows windows_of(const Call& call, int i, const Instr& in, const std::vector<int32_t>& channels) {
  PlaneWindows w;
  w.isa = &call.isa;
  w.map = call.plan.instrs[i].map.view();
  w.window = in.window;
  w.source = call.planes(in.args[0]);
  w.channels = channels.data();
  w.planes = static_cast<int>(channels.size());
  w.n = call.tensor(i).n;
  w.out_h = call.tensor(i).plane.h, w.out_w = call.tensor(i).plane.w;
  w.fill = padding_of(call, in);
  return w;
}

void run(Call& call, int i, const Instr& in) {
  const Window& k = in.window;
  std::vector<int32_t> channels(static_cast<size_t>(call.tensor(i).planes));
  std::iota(channels.begin(), channels.end(), 0);
  const PlaneWindows windows = windows_of(call, i, in, channels);
  const size_t line_cells = static_cast<size_t>(call.isa.lanes);
  each_window_tile(windows, call.parallel, call.workspace, call.threads, [&](const WindowTile& tile, Worker& worker) {
    PoolPlane a;
    a.source = tile.from;
    a.pitch = tile.pitch;
    a.kh = k.kh, a.kw = k.kw, a.sh = k.sh, a.sw = k.sw, a.dh = k.dh, a.dw = k.dw;
    a.th = tile.rows.size(), a.tw = tile.columns.size();
    a.out_pitch = windows.out_w;
    const size_t line = static_cast<size_t>(tile.rows.first) * windows.out_w + tile.columns.first;
    a.out = call.cells_of(i, tile.image, tile.plane) + line * line_cells;
    const size_t columns = static_cast<size_t>(a.tw - 1) * k.sw + static_cast<size_t>(k.kw - 1) * k.dw + 1;
    a.maxima = static_cast<uint32_t*>(worker.accumulators.at_least(columns * line_cells * 4));
    in.quantized ? call.isa.max_pool_quantized(a) : call.isa.max_pool(a);
  });
}

constexpr OpDef max_pool() {
  OpDef op;
  op.name = "maxpool";
  op.takes = Takes::kEither;
  op.planes_only = true;
  op.parse = parse;
  op.shape = windowed_shape;
  op.plan = plan_window;
  op.run = run;
  return op;
}

constexpr OpDef zero_max_pool() {
  OpDef op = max_pool();
  op.name = "zeromaxpool";
  op.since = 5;
  return op;
}

}  // namespace

extern constexpr OpDef kMaxPoolOp = max_pool();
extern constexpr OpDef kZeroMaxPoolOp = zero_max_pool();

}  // namespace lth
