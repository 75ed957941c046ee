#include "sensors.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "facts.h"
#include "programs.h"

namespace {

const std::string kCpus = "/sys/devices/system/cpu/";
constexpr int kProgramMilliseconds = 2000;

bool is_number(const std::string& text) {
  return !text.empty() && text.size() < 6 && text.find_first_not_of("0123456789") == std::string::npos;
}

std::string core_path(int core) { return kCpus + "cpu" + std::to_string(core) + "/"; }

}  // namespace

Sensors::Sensors(const std::string& root) : files_(root), energy_(files_) {
  for (const char* path : {"/usr/bin/vcgencmd", "/bin/vcgencmd", "/opt/vc/bin/vcgencmd"}) {
    if (vcgencmd_.empty() && access(files_.path_of(path).c_str(), X_OK) == 0) vcgencmd_ = files_.path_of(path);
  }
}

std::vector<int> Sensors::online() const {
  std::vector<int> cores;
  for (const std::string& name : files_.names_in(kCpus, "cpu")) {
    if (!is_number(name.substr(3))) continue;  // cpufreq, cpuidle
    // A core that cannot be taken away has no such file.
    if (files_.text_of(kCpus + name + "/online") != "0") cores.push_back(std::stoi(name.substr(3)));
  }
  std::sort(cores.begin(), cores.end());
  return cores;
}

std::string Sensors::board() const {
  const std::string text = files_.text_of("/proc/device-tree/model");
  return quoted(text.substr(0, text.find('\0')));
}

std::string Sensors::cores() const {
  std::vector<std::string> items;
  for (const int core : online()) {
    const std::string path = core_path(core);
    items.push_back("{\"id\": " + std::to_string(core) + ", \"capacity\": " + files_.number_of(path + "cpu_capacity") +
                    ", \"least_khz\": " + files_.number_of(path + "cpufreq/cpuinfo_min_freq") +
                    ", \"largest_khz\": " + files_.number_of(path + "cpufreq/cpuinfo_max_freq") +
                    ", \"governor\": " + quoted(files_.text_of(path + "cpufreq/scaling_governor")) + "}");
  }
  return listed(items);
}

std::string Sensors::throttling(const std::vector<int>& cores) const {
  // Intel counts how often a core or its package was slowed down.
  long long events = 0;
  bool counted = false;
  for (const int core : cores) {
    for (const char* kind : {"core_throttle_count", "package_throttle_count"}) {
      const std::string count = files_.number_of(core_path(core) + "thermal_throttle/" + kind);
      if (count == "null") continue;
      events += std::stoll(count);
      counted = true;
    }
  }
  // Elsewhere Linux lowers the clock itself; a cooling device says by how many steps. Fans are cooling devices too.
  long long steps = 0;
  bool cooled = false;
  const std::string thermal = "/sys/class/thermal/";
  for (const std::string& name : files_.names_in(thermal, "cooling_device")) {
    const std::string type = files_.text_of(thermal + name + "/type");
    const bool of_cores = type == "Processor" || type.rfind("thermal-cpufreq", 0) == 0 || type.rfind("cpufreq", 0) == 0;
    const std::string state = of_cores ? files_.number_of(thermal + name + "/cur_state") : "null";
    if (state == "null") continue;
    steps = std::max(steps, std::stoll(state));
    cooled = true;
  }
  // Raspberry Pi: its firmware says it by the bits of a number.
  std::string bits = "null";
  if (!vcgencmd_.empty()) {
    std::string said = output_of({vcgencmd_, "get_throttled"}, kProgramMilliseconds);
    said.erase(said.find_last_not_of(" \r\n") + 1);
    if (said.rfind("throttled=", 0) == 0) bits = whole_or_null(said.substr(10), 16);
  }
  return "{\"bits\": " + bits + ", \"events\": " + (counted ? std::to_string(events) : "null") +
         ", \"steps\": " + (cooled ? std::to_string(steps) : "null") + "}";
}

std::string Sensors::conditions() {
  const std::vector<int> present = online();
  std::vector<std::string> cores, zones;
  for (const int core : present) {
    const std::string path = core_path(core) + "cpufreq/";
    cores.push_back("{\"id\": " + std::to_string(core) + ", \"khz\": " + files_.number_of(path + "scaling_cur_freq") +
                    ", \"governor\": " + quoted(files_.text_of(path + "scaling_governor")) + "}");
  }
  const std::string thermal = "/sys/class/thermal/";
  for (const std::string& name : files_.names_in(thermal, "thermal_zone")) {
    const std::string thousandths = files_.number_of(thermal + name + "/temp");
    if (thousandths == "null") continue;  // a zone that is switched off
    zones.push_back("{\"name\": " + quoted(files_.text_of(thermal + name + "/type")) +
                    ", \"celsius\": " + number(std::stod(thousandths) / 1000) + "}");
  }
  const double now = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  char seconds[40];
  std::snprintf(seconds, sizeof seconds, "%.6f", now);
  return std::string("{\"seconds\": ") + seconds + ", \"cores\": " + listed(cores) + ", \"zones\": " + listed(zones) +
         ", \"throttling\": " + throttling(present) + ", \"energy\": " + energy_.text() + "}";
}
