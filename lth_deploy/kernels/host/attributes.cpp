#include "attributes.h"

#include <cerrno>
#include <cstdlib>
#include <sstream>
#include <stdexcept>

namespace lth::host {
namespace {

[[noreturn]] void fail(const std::string& name) { throw std::runtime_error("no such attribute: " + name); }

}  // namespace

std::string string_of(const Node& node, const std::string& name) {
  if (node.op == "Region0") {
    if (name != "program") fail(name);
    return node.text;
  }
  const std::string start = name + "=";
  std::istringstream lines(node.text);
  for (std::string line; std::getline(lines, line);) {
    if (line.compare(0, start.size(), start) == 0) return line.substr(start.size());
  }
  fail(name);
}

int64_t int_of(const Node& node, const std::string& name) {
  const std::string text = string_of(node, name);
  char* end = nullptr;
  errno = 0;
  const long long value = std::strtoll(text.c_str(), &end, 10);
  if (text.empty() || end != text.c_str() + text.size() || errno) fail(name);
  return value;
}

float float_of(const Node& node, const std::string& name) {
  const std::string text = string_of(node, name);
  char* end = nullptr;
  const float value = std::strtof(text.c_str(), &end);
  if (text.empty() || end != text.c_str() + text.size()) fail(name);
  return value;
}

}  // namespace lth::host
