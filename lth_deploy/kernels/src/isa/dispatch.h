// Which instruction set to run on.
#pragma once

#include <string>
#include <vector>

#include "isa/isa.h"

namespace lth {

// The one of this name, or the best that this machine has for "". Throws Error with the names that there are.
const Isa& choose_isa(const std::string& name);

}  // namespace lth
