// Spreads numbered tasks over whatever threads a Parallel has.
#pragma once

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <type_traits>

#include "execute/workspace.h"
#include "plan/region.h"

namespace lth {

// Runs f(worker, task) for each task in [0, n). Returns how many workers took part. The first exception is rethrown.
template <class F>
int for_each_task(Parallel& parallel, int64_t n, F&& f) {
  if (n <= 1) {
    if (n == 1) f(0, int64_t{0});
    return 1;
  }
  struct Shared {
    std::remove_reference_t<F>& f;
    int64_t n;
    std::atomic<int64_t> next{0};
    std::atomic<int> workers{0};
    std::mutex mutex;
    std::exception_ptr failure;
  } shared{f, n, {}, {}, {}, {}};
  parallel.run(static_cast<int>(std::min<int64_t>(n, kMaxWorkers)), [](void* context, int) {
    Shared& s = *static_cast<Shared*>(context);
    int worker = -1;
    for (int64_t task; (task = s.next.fetch_add(1)) < s.n;) {
      if (worker < 0) worker = s.workers.fetch_add(1);
      try {
        s.f(worker, task);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(s.mutex);
        if (!s.failure) s.failure = std::current_exception();
        s.next = s.n;
      }
    }
  }, &shared);
  if (shared.failure) std::rethrow_exception(shared.failure);
  return shared.workers;
}

// In how many parts each of `tasks` is divided, so that all threads stay busy where there are few.
inline int parts_of_task(int64_t tasks, int threads) {
  return threads > 1 && tasks < 4 * threads ? static_cast<int>((4 * threads + tasks - 1) / tasks) : 1;
}

// Keeps in `most` the largest number of threads that took part in a call.
inline void note_threads(std::atomic<int>& most, int seen) {
  for (int before = most; before < seen && !most.compare_exchange_weak(before, seen);) {
  }
}

}  // namespace lth
