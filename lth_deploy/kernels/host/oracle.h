// What the outputs of a node should be.
#pragma once

#include "naive/region.h"
#include "node_file.h"

namespace lth::host {

// Throws Error where the node or its inputs break a rule, TooLarge, std::runtime_error where an attribute is not there.
NaiveResult oracle(const Node& node);

}  // namespace lth::host
