// For `lth-deploy checks`: what sessions of this process would use.
#include <cstring>
#include <exception>

#include "environment.h"
#include "isa/dispatch.h"
#include "tuning/tuned_isa.h"

namespace lth {
namespace {

// As snprintf: cut to the room that there is.
int give(const std::string& text, char* out, size_t room) {
  if (room > 0) {
    const size_t length = text.size() < room ? text.size() : room - 1;
    std::memcpy(out, text.data(), length);
    out[length] = '\0';
  }
  return static_cast<int>(text.size());
}

}  // namespace
}  // namespace lth

// Writes `ISA RECORD`, or `error WHY`, and returns its length.
extern "C" __attribute__((visibility("default"))) int LthDescribeKernels(char* out, size_t room) noexcept {
  try {
    const std::string isa = lth::from_environment("LTH_ISA");
    const lth::TuningRecord record = lth::tuning_record(isa, lth::from_environment("LTH_TUNING"));
    const std::string name = lth::choose_isa(isa).name;
    return lth::give(name + " " + lth::described(record, name), out, room);
  } catch (const std::exception& error) {
    return lth::give(std::string("error ") + error.what(), out, room);
  }
}
