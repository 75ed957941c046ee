#include "energy.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "facts.h"

namespace {

const std::string kPowercap = "/sys/class/powercap/", kMonitors = "/sys/class/hwmon/";
// INA sensors average over some milliseconds themselves; each reading goes over a slow bus.
constexpr std::chrono::milliseconds kPeriod(50);

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::string entry(const std::string& source, const std::string& name, const std::string& microjoules,
                  const std::string& range, bool part) {
  return "{\"source\": " + quoted(source) + ", \"name\": " + quoted(name) + ", \"microjoules\": " + microjoules +
         ", \"range\": " + range + ", \"part\": " + (part ? "true" : "false") + "}";
}

}  // namespace

EnergyCounters::EnergyCounters(const Files& files) : files_(files) {
  find_zones();
  find_rails();
  if (rails_.empty()) return;
  measure();
  watcher_ = std::thread([this] { watch(); });
}

EnergyCounters::~EnergyCounters() {
  ending_ = true;
  if (watcher_.joinable()) watcher_.join();
}

void EnergyCounters::find_zones() {
  for (const std::string& folder : files_.names_in(kPowercap, "intel-rapl:")) {
    // intel-rapl:0 is a package or the platform, intel-rapl:0:1 a part of the package.
    const size_t second = folder.find(':', folder.find(':') + 1);
    const bool part = second != std::string::npos;
    const std::string package = part ? files_.text_of(kPowercap + folder.substr(0, second) + "/name") + "/" : "";
    zones_.push_back({kPowercap + folder + "/", package + files_.text_of(kPowercap + folder + "/name"), part});
  }
}

void EnergyCounters::find_rails() {
  for (const std::string& monitor : files_.names_in(kMonitors, "hwmon")) {
    const std::string folder = kMonitors + monitor + "/", source = files_.text_of(folder + "name");
    if (source.rfind("ina", 0) != 0) continue;
    for (const std::string& file : files_.names_in(folder, "curr")) {
      const std::string channel = file.substr(4, file.find('_') - 4);
      const std::string volts = folder + "in" + channel + "_input";
      if (file != "curr" + channel + "_input" || !files_.has(volts)) continue;
      if (files_.text_of(folder + "in" + channel + "_enable") == "0") continue;
      std::string name = files_.text_of(folder + "in" + channel + "_label");
      if (name.empty()) name = files_.text_of(folder + "curr" + channel + "_label");
      if (name.empty()) name = monitor + " " + channel;
      const auto same = [&](const Rail& rail) { return rail.source == source && rail.name == name; };
      if (std::any_of(rails_.begin(), rails_.end(), same)) name += " of " + monitor;
      rails_.push_back({source, name, volts, folder + file, true, 0, 0, 0});
    }
  }
}

void EnergyCounters::measure() {
  for (Rail& rail : rails_) {
    if (!rail.readable) continue;
    const std::string volts = files_.number_of(rail.volts), amperes = files_.number_of(rail.amperes);
    // A rail that could not be read once has a gap, and counts no more.
    rail.readable = volts != "null" && amperes != "null";
    if (!rail.readable) continue;
    const double at = now(), watts = std::atof(volts.c_str()) * std::atof(amperes.c_str()) / 1e6;
    if (rail.measured > 0) rail.microjoules += (rail.watts + watts) / 2 * (at - rail.measured) * 1e6;
    rail.watts = watts;
    rail.measured = at;
  }
}

void EnergyCounters::watch() {
  // Waiting on a condition would take a newer glibc than boards have.
  while (!ending_) {
    std::this_thread::sleep_for(kPeriod);
    const std::lock_guard<std::mutex> held(lock_);
    measure();
  }
}

std::string EnergyCounters::text() {
  std::vector<std::string> items;
  for (const Zone& zone : zones_) {
    items.push_back(entry("rapl", zone.name, files_.number_of(zone.folder + "energy_uj"),
                          files_.number_of(zone.folder + "max_energy_range_uj"), zone.part));
  }
  const std::lock_guard<std::mutex> held(lock_);
  measure();
  for (const Rail& rail : rails_) {
    char counted[40];
    std::snprintf(counted, sizeof counted, "%.0f", std::max(0.0, rail.microjoules));
    items.push_back(entry(rail.source, rail.name, rail.readable ? counted : "null", "null", false));
  }
  return listed(items);
}
