// Facts about this process and this machine, for the report of a benchmark; and JSON's spelling of text and numbers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

struct Machine {
  std::string cpu;
  int cores = 0;
  std::vector<std::string> isa;  // by Linux's names
  std::string os;
  int64_t memory = 0;  // bytes
};

Machine describe_machine();
bool emulated();                              // runs under qemu-user: every time is that of the emulator
int64_t peak_rss_bytes();                     // VmHWM
std::string utc_now();                        // 2026-01-31T12:00:00+00:00
std::string quoted(const std::string& text);  // as a JSON string
std::string number(double value);             // as a JSON number
