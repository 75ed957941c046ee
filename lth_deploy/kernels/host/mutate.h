// Damage, as a broken or hostile file would have it.
#pragma once

#include <random>

#include "node_file.h"

namespace lth::host {

using Random = std::mt19937_64;

// `node` with one to four random changes to its text, its arrays or their shapes.
Node mutated(const Node& node, Random& random);

}  // namespace lth::host
