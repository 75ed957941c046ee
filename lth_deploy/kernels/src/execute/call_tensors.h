// The tensors of one call: where each lies in the arena, and how all of its planes are gone through side by side.
#pragma once

#include <algorithm>

#include "execute/run_conv.h"
#include "execute/tasks.h"
#include "plan/plan.h"

namespace lth {

class CallTensors {
 protected:
  CallTensors(const Plan& plan, int lanes, char* arena, Parallel& parallel)
      : plan_(plan), parallel_(parallel), lanes_(lanes), arena_(arena) {}

  const Buffer& buffer(int tensor) const { return plan_.buffers[plan_.tensors[tensor].view.buffer]; }

  float* start(const Buffer& b) const { return reinterpret_cast<float*>(arena_ + b.offset); }

  // Of a channel, or of a cell of four.
  float* plane(int tensor, int n, int c) const {
    const TensorPlan& t = plan_.tensors[tensor];
    const Buffer& b = buffer(tensor);
    return start(b) + (static_cast<size_t>(n) * b.planes + t.view.plane + c) * b.cells;
  }

  uint32_t* cells_of(int tensor, int n, int c) const { return reinterpret_cast<uint32_t*>(plane(tensor, n, c)); }

  Planes planes(int tensor) const {
    const Buffer& b = buffer(tensor);
    return {plane(tensor, 0, 0), b.cells, b.cells * b.planes};
  }

  size_t cells(int tensor) const { return static_cast<size_t>(lines_of(plan_.tensors[tensor].plane)) * lanes_; }

  template <class F>
  void each_plane(int tensor, F&& f) {
    each_plane_of_workers(tensor, [&](int, int n, int c) { f(n, c); });
  }

  template <class F>
  void each_plane_of_workers(int tensor, F&& f) {
    each_plane_of_workers(tensor, 0, plan_.tensors[tensor].n, f);
  }

  // Of `pictures` images from `first` on.
  template <class F>
  void each_plane_of_workers(int tensor, int first, int pictures, F&& f) {
    const TensorPlan& t = plan_.tensors[tensor];
    const int64_t all = static_cast<int64_t>(pictures) * t.planes;
    const int64_t grain = std::max<int64_t>(1, kGrain / static_cast<int64_t>(cells(tensor)));
    for_each_task(parallel_, (all + grain - 1) / grain, [&](int worker, int64_t task) {
      for (int64_t k = task * grain; k < std::min(all, (task + 1) * grain); ++k) {
        f(worker, first + static_cast<int>(k / t.planes), static_cast<int>(k % t.planes));
      }
    });
  }

  template <class F>
  void each_group(int channels, F&& f) {
    for_each_task(parallel_, (channels + kGroup - 1) / kGroup, [&](int, int64_t task) {
      const int first = static_cast<int>(task) * kGroup;
      f(first, std::min(kGroup, channels - first));
    });
  }

  const Plan& plan_;
  Parallel& parallel_;

 private:
  static constexpr int64_t kGrain = 1 << 15;  // cells that a task of a copying instruction should have at least
  static constexpr int kGroup = 16;           // channels of a matrix that lie in one cache line of its rows

  int lanes_;
  char* arena_;
};

}  // namespace lth
