#include "execute/run_depthwise.h"

#include <algorithm>

#include "execute/plane_windows.h"
#include "plan/caches.h"

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

// Pixels of a plane, most of whose lines lie at a rim; the largest that was seen to gain.
constexpr int kSmallPlane = 28 * 28;

// Layers whose planes are turned: a line of a pixel has the channels of as many planes as there are lanes. Windows then read
// whole lines wherever they lie. Turning costs four shuffles for each line that is read or written.
class TurnedLayer {
 public:
  explicit TurnedLayer(const ConvCall& call)
      : call_(call), window_(call.window), in_(call.source_plane), out_(call.out_plane), lanes_(call.isa->lanes),
        rows_((out_.H - 1) * window_.sh + (window_.kh - 1) * window_.dh + 1),
        columns_((out_.W - 1) * window_.sw + (window_.kw - 1) * window_.dw + 1), pitch_(columns_ | 1), out_pitch_(out_.W | 1) {}

  // Where that is less than putting together the lines that windows read.
  bool suits() const {
    const bool plain = call_.requantize == nullptr && call_.add.first == nullptr && call_.conv->depthwise.multiplier == 1;
    const bool costs_less = !call_.map.aligned || int64_t{out_.H} * out_.W <= kSmallPlane;
    return plain && costs_less && lines() * lanes_ * 4 <= caches().l2 / 2;
  }

  int groups() const { return (planes() + lanes_ - 1) / lanes_; }

  void run(int image, int group, Worker& worker) const {
    auto* const memory = static_cast<uint32_t*>(worker.tile.at_least(lines() * lanes_ * 4));
    const int first = group * lanes_, channels = std::min(lanes_, planes() - first);
    uint32_t* const made = line(memory, static_cast<size_t>(rows_) * pitch_);
    uint32_t* const weights = line(made, static_cast<size_t>(out_.H) * out_pitch_);
    turn(image, first, channels, memory);
    set_weights(first, channels, weights);
    multiply(memory, weights, made);
    TurnedPlanes back = turned(call_.out, image, first, channels, out_);
    back.pixels = made, back.pitch = out_pitch_;
    back.rows = out_.H, back.columns = out_.W;
    call_.isa->turn_back(back);
  }

 private:
  int planes() const { return static_cast<int>(call_.conv->depthwise.channels.size()); }
  int taps() const { return window_.kh * window_.kw; }

  // What is read with what lies around it, what is made, weights and bias.
  size_t lines() const {
    return static_cast<size_t>(rows_) * pitch_ + static_cast<size_t>(out_.H) * out_pitch_ + static_cast<size_t>(taps()) + 1;
  }

  uint32_t* line(uint32_t* memory, size_t number) const { return memory + number * lanes_; }

  TurnedPlanes turned(const Planes& planes, int image, int first, int channels, const PlaneShape& shape) const {
    TurnedPlanes a;
    a.planes = reinterpret_cast<uint32_t*>(planes.first + static_cast<size_t>(image) * planes.image +
                                           static_cast<size_t>(first) * planes.channel);
    a.channel_cells = planes.channel;
    a.channels = channels;
    a.plane = shape;
    return a;
  }

  // Columns [first, end) of a row of what windows read.
  void clear(uint32_t* pixels, int row, int first, int end) const {
    uint32_t* const from = line(pixels, static_cast<size_t>(row) * pitch_);
    if (first < end) std::fill(from + static_cast<size_t>(first) * lanes_, from + static_cast<size_t>(end) * lanes_, 0u);
  }

  void turn(int image, int first, int channels, uint32_t* pixels) const {
    const int top = window_.pt, left = window_.pl;
    for (int r = 0; r < rows_; ++r) {
      const bool inside = r >= top && r < top + in_.H;
      clear(pixels, r, 0, inside ? std::min(left, columns_) : columns_);
      if (inside) clear(pixels, r, left + in_.W, columns_);
    }
    TurnedPlanes a = turned(call_.source, image, first, channels, in_);
    a.pixels = line(pixels, static_cast<size_t>(top) * pitch_ + left);
    a.pitch = pitch_;
    a.rows = std::min(in_.H, rows_ - top), a.columns = std::min(in_.W, columns_ - left);
    call_.isa->turn(a);
  }

  // Weights of each tap, and the bias, of all channels.
  void set_weights(int first, int channels, uint32_t* weights) const {
    const uint32_t* const from = call_.conv->depthwise.value.data() + static_cast<size_t>(first) * taps();
    for (int tap = 0; tap < taps(); ++tap) {
      for (int k = 0; k < lanes_; ++k) *weights++ = k < channels ? from[k * taps() + tap] : 0;
    }
    for (int k = 0; k < lanes_; ++k) *weights++ = k < channels ? call_.bias[first + k] : 0;
  }

  void multiply(const uint32_t* pixels, const uint32_t* weights, uint32_t* made) const {
    DepthwisePlane a;
    a.source = pixels;
    a.pitch = pitch_;
    a.kh = window_.kh, a.kw = window_.kw;
    a.sh = window_.sh, a.sw = window_.sw;
    a.dh = window_.dh, a.dw = window_.dw;
    a.weight = weights;
    a.bias = weights + static_cast<size_t>(taps()) * lanes_;
    a.th = out_.H, a.tw = out_.W;
    a.out = reinterpret_cast<float*>(made);
    a.out_pitch = out_pitch_;
    a.finish = call_.finish;
    call_.isa->depthwise_turned(a);
  }

  const ConvCall& call_;
  const Window& window_;
  const PlaneShape &in_, &out_;
  int lanes_, rows_, columns_, pitch_, out_pitch_;
};

// Pixels of a plane in which nearly every row has cells of other lanes; the largest that is faster turned.
constexpr int kTurnedPlane = 16 * 16;

// Layers with windows 3 wide, which read rows that are copied once, with what lies around them.
class RowsLayer {
 public:
  explicit RowsLayer(const ConvCall& call) : call_(call), window_(call.window), weights_(call.conv->depthwise) {}

  bool suits() const {
    const bool plain = window_.sh == 1 && window_.sw == 1 && window_.dh == 1 && window_.dw == 1;
    const bool known = window_.kw == 3 && window_.kh < kDepthwiseReach;
    const bool large = int64_t{call_.out_plane.H} * call_.out_plane.W > kTurnedPlane;
    return call_.requantize == nullptr && call_.map.aligned && plain && known && large;
  }

  int batches() const { return (planes() + kBatch - 1) / kBatch; }

  void run(int image, int batch, Range rows, Worker& worker) const {
    const int first = batch * kBatch, made = first * weights_.multiplier;
    DepthwiseRows a;
    a.source = reinterpret_cast<const uint32_t*>(plane(call_.source, image, first));
    a.source_channel = call_.source.channel;
    a.planes = std::min(kBatch, planes() - first);
    a.map = call_.map;
    a.kh = window_.kh;
    a.multiplier = weights_.multiplier;
    a.weight = weights_.value.data() + static_cast<size_t>(made) * weights_.plane_values;
    a.bias = call_.bias + made;
    a.first = rows.first, a.end = rows.end, a.out_w = call_.out_w;
    a.out = plane(call_.out, image, made);
    a.out_channel = call_.out.channel;
    if (call_.add.first != nullptr) a.add = plane(call_.add, image, made);
    a.add_channel = call_.add.channel;
    a.finish = call_.finish;
    const size_t columns = static_cast<size_t>(call_.out_w + window_.kw - 1);
    a.ring = static_cast<uint32_t*>(worker.tile.at_least(kDepthwiseReach * columns * static_cast<size_t>(call_.isa->lanes) * 4));
    call_.isa->depthwise_rows(a);
  }

 private:
  static constexpr int kBatch = 16;  // planes of a task

  int planes() const { return static_cast<int>(weights_.channels.size()); }

  static float* plane(const Planes& planes, int image, int number) {
    return planes.first + static_cast<size_t>(image) * planes.image + static_cast<size_t>(number) * planes.channel;
  }

  const ConvCall& call_;
  const Window& window_;
  const DepthwiseWeights& weights_;
};

void run_rows(const RowsLayer& layer, const ConvCall& call, Parallel& parallel, Workspace& workspace, std::atomic<int>& threads) {
  const int batches = layer.batches();
  const int strips = std::min(call.out_h, parts_of_task(static_cast<int64_t>(batches) * call.n, threads));
  const int seen = for_each_task(parallel, static_cast<int64_t>(call.n) * batches * strips, [&](int worker, int64_t task) {
    const int strip = static_cast<int>(task % strips), batch = static_cast<int>(task / strips % batches);
    layer.run(static_cast<int>(task / strips / batches), batch, strip_of(call.out_h, strip, strips), workspace.workers[worker]);
  });
  note_threads(threads, seen);
}

void run_turned(const TurnedLayer& layer, int images, Parallel& parallel, Workspace& workspace, std::atomic<int>& threads) {
  const int groups = layer.groups();
  const int seen = for_each_task(parallel, static_cast<int64_t>(images) * groups, [&](int worker, int64_t task) {
    layer.run(static_cast<int>(task / groups), static_cast<int>(task % groups), workspace.workers[worker]);
  });
  note_threads(threads, seen);
}

}  // namespace

void run_depthwise(const ConvCall& call, Parallel& parallel, Workspace& workspace, std::atomic<int>& threads) {
  const RowsLayer rows(call);
  if (rows.suits()) return run_rows(rows, call, parallel, workspace, threads);
  const TurnedLayer turned(call);
  const bool enough = int64_t{call.n} * turned.groups() >= threads;  // tasks
  if (enough && turned.suits()) return run_turned(turned, call.n, parallel, workspace, threads);
  const DepthwiseLayer layer(call);
  const PlaneWindows windows = layer.windows();
  each_window_tile(windows, parallel, workspace, threads,
                   [&](const WindowTile& tile, Worker& worker) { layer.multiply(tile, worker); });
}

}  // namespace lth
