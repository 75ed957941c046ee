#include "programs.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>

namespace {

constexpr size_t kMost = 4096;

[[noreturn]] void become(const std::vector<char*>& arguments, int output) {
  const int nothing = open("/dev/null", O_RDWR);
  dup2(nothing, 0);
  dup2(output, 1);
  dup2(nothing, 2);
  execv(arguments[0], arguments.data());
  _exit(127);
}

// Reads until the end, the time or the size; whether the end was reached.
bool read_output(int from, int milliseconds, std::string& text) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
  for (std::array<char, 512> buffer{}; text.size() < kMost;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    pollfd waited{from, POLLIN, 0};
    if (left.count() <= 0 || poll(&waited, 1, static_cast<int>(left.count())) <= 0) return false;
    const ssize_t got = read(from, buffer.data(), buffer.size());
    if (got <= 0) return got == 0;
    text.append(buffer.data(), static_cast<size_t>(got));
  }
  return false;
}

}  // namespace

std::string output_of(const std::vector<std::string>& command, int milliseconds) {
  // Nothing is allocated between fork and exec: other threads may hold locks.
  std::vector<char*> arguments;
  for (const std::string& part : command) arguments.push_back(const_cast<char*>(part.c_str()));
  arguments.push_back(nullptr);
  int pipe_ends[2];
  if (pipe2(pipe_ends, O_CLOEXEC)) return "";
  const pid_t child = fork();
  if (child == 0) become(arguments, pipe_ends[1]);
  close(pipe_ends[1]);
  std::string text;
  const bool whole = child > 0 && read_output(pipe_ends[0], milliseconds, text);
  close(pipe_ends[0]);
  if (child < 0) return "";
  if (!whole) kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  return whole && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? text : "";
}
