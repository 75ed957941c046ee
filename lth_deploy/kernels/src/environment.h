// Settings of the process.
#pragma once

#include <cstdlib>
#include <string>

namespace lth {

// The value of an environment variable, "" where it is not set.
inline std::string from_environment(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr ? value : "";
}

}  // namespace lth
