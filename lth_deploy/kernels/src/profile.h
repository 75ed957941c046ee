// Where the time of a region goes. With LTH_PROFILE=FILE in the environment each region appends, when it is destroyed,
// one JSON line: its calls, and the nanoseconds of all calls for each instruction and for the outputs.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace lth {

class Profile {
 public:
  explicit Profile(size_t instructions) : ns_(instructions + 1) {
    const char* path = std::getenv("LTH_PROFILE");
    if (path != nullptr) path_ = path;
  }

  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  ~Profile() {
    if (path_.empty() || calls_ == 0) return;
    std::FILE* const file = std::fopen(path_.c_str(), "a");
    if (file == nullptr) return;
    std::string line = "{\"calls\": " + std::to_string(calls_) + ", \"ns\": [";
    for (size_t i = 0; i < ns_.size(); ++i) line += (i ? ", " : "") + std::to_string(ns_[i]);
    line += "]}\n";
    std::fwrite(line.data(), 1, line.size(), file);
    std::fclose(file);
  }

  bool on() const { return !path_.empty(); }
  void count_call() { ++calls_; }

  // The last index is that of the outputs.
  template <class F>
  void time(size_t i, F&& f) {
    if (!on()) return f();
    const auto began = std::chrono::steady_clock::now();
    f();
    ns_[i] += static_cast<uint64_t>((std::chrono::steady_clock::now() - began) / std::chrono::nanoseconds(1));
  }

 private:
  std::string path_;
  std::atomic<uint64_t> calls_{0};
  std::vector<std::atomic<uint64_t>> ns_;
};

}  // namespace lth
