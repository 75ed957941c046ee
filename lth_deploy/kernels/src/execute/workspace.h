// Memory of one call: the arena of tensors, and what each worker needs for itself. Taken from a pool, so that calls at the
// same time have their own and later calls pay nothing.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

namespace lth {

class AlignedBytes {
 public:
  // At least `size` bytes, aligned to a cache line; what they hold is lost where they grow.
  void* at_least(size_t size) {
    if (size > size_) {
      data_.reset();
      size_ = 0;
      void* p = nullptr;
      const size_t alignment = size >= kHugePage ? kHugePage : 64;
      if (posix_memalign(&p, alignment, size) != 0) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
      // Channels lie far apart, and every tile visits many: with small pages the addresses do not fit their cache.
      if (size >= kHugePage) madvise(p, size / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
      data_.reset(p);
      size_ = size;
    }
    return data_.get();
  }

 private:
  static constexpr size_t kHugePage = size_t{2} << 20;

  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  std::unique_ptr<void, Free> data_;
  size_t size_ = 0;
};

constexpr int kMaxWorkers = 64;

struct Worker {
  AlignedBytes tile, accumulators;
};

struct Workspace {
  AlignedBytes arena;
  Worker workers[kMaxWorkers];
};

class WorkspacePool {
 public:
  std::unique_ptr<Workspace> take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty()) return std::make_unique<Workspace>();
    std::unique_ptr<Workspace> w = std::move(free_.back());
    free_.pop_back();
    return w;
  }

  void give_back(std::unique_ptr<Workspace> w) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (free_.size() < kKept) free_.push_back(std::move(w));
  }

 private:
  static constexpr size_t kKept = 4;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> free_;
};

}  // namespace lth
