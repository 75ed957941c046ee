// Fuzz harness of the program parser. The first byte is the number of inputs of the node, the rest is the text.
#include <cstddef>
#include <cstdint>
#include <string>

#include "program/program.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data + 1), size - 1);
  try {
    lth::parse_program(text, data[0]);
  } catch (const lth::Error&) {
  }
  return 0;
}
