// Another program's output, for tools of the board such as vcgencmd.
#pragma once

#include <string>
#include <vector>

// What it prints, at most some kilobytes; "" where it cannot be started, fails, or takes longer than the time.
std::string output_of(const std::vector<std::string>& command, int milliseconds);
