// Where the time of a region goes. With LTH_PROFILE=FILE in the environment each region appends, when it is destroyed,
// one JSON line: the bytes of its weights and the processor time that making them took, its calls, the bytes of the L2 cache, the form of
// the weights of each instruction, and the nanoseconds of all calls, of the median one and of the least, for each instruction and for the outputs.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "plan/caches.h"

namespace lth {

class Profile {
 public:
  explicit Profile(size_t instructions) : samples_(instructions + 1) {
    const char* path = std::getenv("LTH_PROFILE");
    if (path != nullptr) path_ = path;
  }

  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  ~Profile() {
    if (path_.empty() || calls_ == 0) return;
    std::FILE* const file = std::fopen(path_.c_str(), "a");
    if (file == nullptr) return;
    std::string sums, medians, least, forms;
    for (const std::string& form : forms_) forms += (forms.empty() ? "\"" : ", \"") + form + '"';
    for (std::vector<uint64_t>& samples : samples_) {
      uint64_t sum = 0;
      for (uint64_t ns : samples) sum += ns;
      std::sort(samples.begin(), samples.end());
      sums += (sums.empty() ? "" : ", ") + std::to_string(sum);
      least += (least.empty() ? "" : ", ") + std::to_string(samples.empty() ? 0 : samples[0]);
      medians += (medians.empty() ? "" : ", ") + std::to_string(samples.empty() ? 0 : samples[samples.size() / 2]);
    }
    const std::string line =
        "{\"weight_bytes\": " + std::to_string(weight_bytes_) + ", \"made_s\": " + std::to_string(seconds_) +
        ", \"calls\": " + std::to_string(calls_) + ", \"l2\": " + std::to_string(caches().l2) + ", \"forms\": [" + forms + "], \"ns\": [" + sums + "], \"median_ns\": [" + medians + "], \"least_ns\": [" + least + "]}\n";
    std::fwrite(line.data(), 1, line.size(), file);
    std::fclose(file);
  }

  // forms: of each instruction that of its weights, "" without weights.
  void made(size_t weight_bytes, double seconds, std::vector<std::string> forms) {
    weight_bytes_ = weight_bytes, seconds_ = seconds, forms_ = std::move(forms);
  }

  bool on() const { return !path_.empty(); }
  void count_call() { ++calls_; }

  // The last index is that of the outputs.
  template <class F>
  void time(size_t i, F&& f) {
    if (!on()) return f();
    const auto began = std::chrono::steady_clock::now();
    f();
    const auto ns = static_cast<uint64_t>((std::chrono::steady_clock::now() - began) / std::chrono::nanoseconds(1));
    const std::lock_guard<std::mutex> lock(mutex_);
    samples_[i].push_back(ns);
  }

 private:
  std::string path_;
  size_t weight_bytes_ = 0;
  double seconds_ = 0;
  std::vector<std::string> forms_;
  std::atomic<uint64_t> calls_{0};
  std::mutex mutex_;
  std::vector<std::vector<uint64_t>> samples_;  // of each instruction, a call each
};

}  // namespace lth
