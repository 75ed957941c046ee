// What Linux says of cores, clocks, heat and energy, as JSON. Whatever a board lacks is left out or null.
#pragma once

#include <string>
#include <vector>

#include "energy.h"
#include "files.h"

class Sensors {
 public:
  // root: in front of /sys and of programs, "" but in tests.
  explicit Sensors(const std::string& root);

  std::string board() const;  // the name in its device tree, as a JSON string; "" where there is none
  // A list: id, online, capacity (of 1024), least and largest clock in kHz, governor.
  std::string cores() const;
  // seconds (of a clock that never goes back), the same of the cores that are online now with their clock in kHz, every
  // thermal zone in degrees Celsius, signs of throttling, counters of energy; see energy.h.
  std::string conditions();

 private:
  std::vector<int> online() const;
  std::string throttling(const std::vector<int>& cores) const;

  const Files files_;
  EnergyCounters energy_;
  std::string vcgencmd_;  // "" where the board has none
};
