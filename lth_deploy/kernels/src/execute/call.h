// One call of a region: its tensors, where each lies in the arena, and how all of its planes are gone through side by side.
// What the operators in ops/ run on.
#pragma once

#include <algorithm>
#include <atomic>
#include <vector>

#include "execute/run_conv.h"
#include "execute/tasks.h"
#include "execute/workspace.h"
#include "plan/plan.h"

namespace lth {

class Call {
 public:
  Call(const Compiled& c, const Plan& p, const std::vector<const float*>& in, const std::vector<float*>& out, Parallel& threads_of, Workspace& memory,
       std::atomic<int>& most_threads)
      : compiled(c), plan(p), isa(*c.isa), inputs(in), outputs(out), parallel(threads_of), workspace(memory), threads(most_threads),
        arena_(static_cast<char*>(memory.arena.at_least(p.arena_bytes + 64))) {}

  const Instr& instr(int i) const { return compiled.program.instrs[i]; }
  const TensorPlan& tensor(int i) const { return plan.tensors[i]; }
  const Buffer& buffer(int tensor) const { return plan.buffers[plan.tensors[tensor].view.buffer]; }
  const Quantization& quantization(int tensor) const { return instr(tensor).quantization; }

  // The input of the node that a load reads.
  const float* loaded(int load) const { return inputs[instr(load).args[0]]; }

  float* start(const Buffer& b) const { return reinterpret_cast<float*>(arena_ + b.offset); }

  // Of a channel, or of a cell of four.
  float* plane(int tensor, int n, int c) const {
    const TensorPlan& t = plan.tensors[tensor];
    const Buffer& b = buffer(tensor);
    return start(b) + (static_cast<size_t>(n) * b.planes + t.view.plane + c) * b.cells;
  }

  uint32_t* cells_of(int tensor, int n, int c) const { return reinterpret_cast<uint32_t*>(plane(tensor, n, c)); }

  Planes planes(int tensor) const {
    const Buffer& b = buffer(tensor);
    return {plane(tensor, 0, 0), b.cells, b.cells * b.planes};
  }

  Planes rounded(int tensor) const {
    const View& view = plan.tensors[tensor].rounded;
    const Buffer& b = plan.buffers[view.buffer];
    return {start(b), b.cells * view.step, b.cells * b.planes};
  }

  size_t cells(int tensor) const { return static_cast<size_t>(lines_of(plan.tensors[tensor].plane)) * isa.lanes; }

  size_t pixels(int tensor) const {
    const PlaneShape& s = plan.tensors[tensor].plane;
    return static_cast<size_t>(s.H) * s.W;
  }

  // Channels in a cell of a quantized tensor: those of the last cell may be fewer than four.
  int channels_in(int tensor, int cell) const { return std::min(4, plan.tensors[tensor].channels - 4 * cell); }

  // f(n, c) for each plane of a tensor.
  template <class F>
  void each_plane(int tensor, F&& f) {
    each_plane_of_workers(tensor, [&](int, int n, int c) { f(n, c); });
  }

  // f(worker, n, c)
  template <class F>
  void each_plane_of_workers(int tensor, F&& f) {
    each_plane_of_workers(tensor, 0, plan.tensors[tensor].n, f);
  }

  // Of `images` images from `first` on.
  template <class F>
  void each_plane_of_workers(int tensor, int first, int images, F&& f) {
    const TensorPlan& t = plan.tensors[tensor];
    const int64_t all = static_cast<int64_t>(images) * t.planes;
    const int64_t grain = std::max<int64_t>(1, kGrain / static_cast<int64_t>(cells(tensor)));
    for_each_task(parallel, (all + grain - 1) / grain, [&](int worker, int64_t task) {
      for (int64_t k = task * grain; k < std::min(all, (task + 1) * grain); ++k) {
        f(worker, first + static_cast<int>(k / t.planes), static_cast<int>(k % t.planes));
      }
    });
  }

  // f(first, count) for groups of neighboring channels of a matrix.
  template <class F>
  void each_group(int channels, F&& f) {
    for_each_task(parallel, (channels + kGroup - 1) / kGroup, [&](int, int64_t task) {
      const int first = static_cast<int>(task) * kGroup;
      f(first, std::min(kGroup, channels - first));
    });
  }

  const Compiled& compiled;
  const Plan& plan;
  const Isa& isa;
  const std::vector<const float*>& inputs;
  const std::vector<float*>& outputs;
  Parallel& parallel;
  Workspace& workspace;
  std::atomic<int>& threads;

 private:
  static constexpr int64_t kGrain = 1 << 15;  // cells that a task of a copying instruction should have at least
  static constexpr int kGroup = 16;           // channels of a matrix that lie in one cache line of its rows

  char* arena_;
};

// Runs an instruction that has a factor and a shift for each channel.
void run_channel_values(Call& call, int i, const Instr& in);

}  // namespace lth
