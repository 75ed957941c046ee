#include "execute/run_depthwise.h"

#include <algorithm>

#include "execute/plane_windows.h"

namespace lth {
namespace {

class DepthwiseLayer {
 public:
  explicit DepthwiseLayer(const ConvCall& call)
      : call_(call), window_(call.window), weights_(call.conv->depthwise), line_cells_(static_cast<size_t>(call.isa->lanes)) {}

  PlaneWindows windows() const {
    PlaneWindows w;
    w.isa = call_.isa;
    w.map = call_.map;
    w.window = window_;
    w.source = call_.source;
    w.channels = weights_.channels.data();
    w.planes = static_cast<int>(weights_.channels.size());
    w.n = call_.n;
    w.out_h = call_.out_h, w.out_w = call_.out_w;
    w.fill = call_.fill;
    return w;
  }

  void multiply(const WindowTile& tile, Worker& worker) const {
    DepthwisePlane a;
    a.source = tile.from;
    a.pitch = tile.pitch;
    a.kh = window_.kh, a.kw = window_.kw;
    a.sh = window_.sh, a.sw = window_.sw;
    a.dh = window_.dh, a.dw = window_.dw;
    a.th = tile.rows.size(), a.tw = tile.columns.size();
    a.out_pitch = call_.out_w;
    a.finish = call_.finish;
    const size_t line = (static_cast<size_t>(tile.rows.first) * call_.out_w + tile.columns.first) * line_cells_;
    if (call_.requantize != nullptr) return multiply_cells(tile.image, tile.plane, line, a, worker);
    for (int k = 0; k < weights_.multiplier; ++k) {
      const size_t made = static_cast<size_t>(tile.plane) * weights_.multiplier + k;
      a.weight = weights_.value.data() + made * weights_.plane_values;
      a.bias = call_.bias + made;
      place(tile.image, made, line, a);
      call_.isa->depthwise(a);
    }
  }

 private:
  // Plane `made` of the output and of the residual, from line `line` on.
  void place(int image, size_t made, size_t line, DepthwisePlane& a) const {
    a.out = call_.out.first + static_cast<size_t>(image) * call_.out.image + made * call_.out.channel + line;
    if (call_.add.first != nullptr) {
      a.add = call_.add.first + static_cast<size_t>(image) * call_.add.image + made * call_.add.channel + line;
    }
  }

  void multiply_cells(int image, int cell, size_t line, DepthwisePlane& a, Worker& worker) const {
    Requantize requantize = *call_.requantize;
    requantize.multiplier += 4 * cell;
    a.requantize = &requantize;
    a.weight = weights_.value.data() + static_cast<size_t>(cell) * weights_.plane_values;
    a.bias = call_.bias + 4 * cell;
    a.channels = std::min(4, call_.conv->out_channels - 4 * cell);
    a.out_channel = call_.out.channel;
    place(image, static_cast<size_t>(requantize.to_floats ? 4 * cell : cell), line, a);
    a.rows_together = weights_.rows_together;
    const int columns = (a.tw - 1) * window_.sw + (window_.kw - 1) * window_.dw + 1;
    const size_t lines = 4 * static_cast<size_t>(depthwise_groups(weights_, window_)) * columns;
    a.columns = static_cast<uint32_t*>(worker.accumulators.at_least(lines * line_cells_ * 4));
    call_.isa->int8->depthwise(a);
  }

  const ConvCall& call_;
  const Window& window_;
  const DepthwiseWeights& weights_;
  size_t line_cells_;
};

}  // namespace

void run_depthwise(const ConvCall& call, Parallel& parallel, Workspace& workspace, std::atomic<int>& threads) {
  const DepthwiseLayer layer(call);
  const PlaneWindows windows = layer.windows();
  each_window_tile(windows, parallel, workspace, threads,
                   [&](const WindowTile& tile, Worker& worker) { layer.multiply(tile, worker); });
}

}  // namespace lth
