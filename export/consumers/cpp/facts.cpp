#include "facts.h"

#include <sched.h>
#include <sys/auxv.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <set>
#include <sstream>
#include <stdexcept>

namespace {

std::string after_colon(const std::string& line) {
  const size_t colon = line.find(':');
  const size_t start = colon == std::string::npos ? colon : line.find_first_not_of(" \t", colon + 1);
  return start == std::string::npos ? "" : line.substr(start);
}

#if defined(__aarch64__)
// What the processor has as Linux tells the process; an emulator answers for what it emulates.
std::vector<std::string> instruction_sets(const std::string&) {
  const unsigned long one = getauxval(AT_HWCAP), two = getauxval(AT_HWCAP2);
  std::vector<std::string> found;
  const auto add = [&](bool has, const char* name) {
    if (has) found.push_back(name);
  };
  add(one & (1UL << 1), "asimd");
  add(one & (1UL << 20), "asimddp");
  add(one & (1UL << 10), "asimdhp");
  add(two & (1UL << 13), "i8mm");
  add(two & (1UL << 14), "bf16");
  add(one & (1UL << 22), "sve");
  add(two & (1UL << 1), "sve2");
  return found;
}
#else
std::vector<std::string> instruction_sets(const std::string& flags) {
  std::istringstream words(flags);
  std::set<std::string> has;
  for (std::string word; words >> word;) has.insert(word);
  std::vector<std::string> found;
  for (const char* name : {"sse4_2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx_vnni",
                           "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"}) {
    if (has.count(name)) found.push_back(name);
  }
  return found;
}
#endif

std::string link_target(const char* path) {
  std::array<char, 4096> buffer{};
  const ssize_t length = readlink(path, buffer.data(), buffer.size());
  return length > 0 ? std::string(buffer.data(), static_cast<size_t>(length)) : "";
}

}  // namespace

bool emulated() {
  // qemu-user answers for /proc/self/exe; the same link by another path tells what Linux really runs.
  const std::string real = link_target("/proc/thread-self/exe");
  return real.substr(real.rfind('/') + 1).rfind("qemu-", 0) == 0;
}

Machine describe_machine() {
  Machine machine;
  std::string flags, line;
  std::ifstream info("/proc/cpuinfo");
  while (std::getline(info, line)) {
    if (machine.cpu.empty() && line.rfind("model name", 0) == 0) machine.cpu = after_colon(line);
    if (flags.empty() && line.rfind("flags", 0) == 0) flags = after_colon(line);
  }
  utsname system{};
  uname(&system);
  if (emulated()) machine.cpu = std::string("qemu-") + system.machine;
  if (machine.cpu.empty()) machine.cpu = system.machine;
  machine.isa = instruction_sets(flags);
  machine.os = std::string(system.sysname) + "-" + system.release + "-" + system.machine;
  cpu_set_t cores;
  machine.cores = sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
  machine.memory = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  return machine;
}

int64_t peak_rss_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return std::stoll(after_colon(line)) * 1024;
  }
  return 0;
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  char text[40];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S+00:00", std::gmtime(&now));
  return text;
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += std::string("\\") + c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(c));
      result += code;
    } else {
      result += c;
    }
  }
  return result + '"';
}

std::string number(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.9g", value);
  return text;
}
