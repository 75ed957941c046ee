// The threads of ONNX Runtime as the kernels borrow them.
#pragma once

#include <exception>
#include <mutex>

#include "ort/ort_access.h"
#include "plan/region.h"

namespace lth::ort {

// Lends the threads of a call of ONNX Runtime's. An exception of a task is thrown again where `run` was called.
class Threads : public Parallel {
 public:
  Threads(const Api& api, const KernelContext* context) : api_(api), context_(context) {}

  void run(int n, void (*fn)(void* context, int i), void* context) override {
    if (n <= 0) return;
    const auto count = static_cast<size_t>(n);
    Job job{fn, context, {}, {}};
    // As many batches as tasks: whoever is free takes the next one.
    check(api_, api_.parallel_for(context_, &step, count, count, &job));
    if (job.error) std::rethrow_exception(job.error);
  }

 private:
  struct Job {
    void (*fn)(void* context, int i);
    void* context;
    std::mutex lock;
    std::exception_ptr error;
  };

  static void step(void* user, size_t i) noexcept {
    Job& job = *static_cast<Job*>(user);
    try {
      job.fn(job.context, static_cast<int>(i));
    } catch (...) {
      const std::lock_guard<std::mutex> hold(job.lock);
      job.error = std::current_exception();
    }
  }

  const Api& api_;
  const KernelContext* context_;
};

}  // namespace lth::ort
