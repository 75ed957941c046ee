// Measures a TuningRecord with the kernels themselves.
#pragma once

#include "tuning/record.h"

namespace lth {

// Takes about a millisecond. Rounded, so that two measurements of one machine are likely to agree.
TuningRecord measure_tuning(const Isa&);

}  // namespace lth
