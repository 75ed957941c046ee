// Counters of energy: Intel's and AMD's RAPL, which the processor counts, and INA sensors, whose power is summed here.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "files.h"

class EnergyCounters {
 public:
  explicit EnergyCounters(const Files& files);
  ~EnergyCounters();
  EnergyCounters(const EnergyCounters&) = delete;
  EnergyCounters& operator=(const EnergyCounters&) = delete;

  // A list: source, name, microjoules so far (null where it cannot be read), range (at which it begins again; null
  // where it does not), part (whether it is known to lie inside of another counter of the list).
  std::string text();

 private:
  struct Zone {
    std::string folder, name;
    bool part;
  };
  // A rail behind a shunt: millivolts times milliamperes.
  struct Rail {
    std::string source, name, volts, amperes;
    bool readable;
    double watts, microjoules;
    double measured;  // when, in seconds of a clock that never goes back; 0 for never
  };
  void find_zones();
  void find_rails();
  void measure();  // adds what each rail took since the last time; the caller holds the lock
  void watch();

  const Files files_;
  std::vector<Zone> zones_;
  std::vector<Rail> rails_;
  std::mutex lock_;
  std::atomic<bool> ending_{false};
  std::thread watcher_;
};
