// An instruction set with what suits this processor.
#pragma once

#include <string>

#include "isa/isa.h"
#include "tuning/record.h"

namespace lth {

// Of choose_isa(name), with the record that `tuning` has in its text form, or for "" with what is measured, once in a
// process. Lives as long as the process. Throws Error as choose_isa and parse_tuning.
const Isa& tuned_isa(const std::string& name, const std::string& tuning);

// The record that tuned_isa uses.
TuningRecord tuning_record(const std::string& name, const std::string& tuning);

}  // namespace lth
