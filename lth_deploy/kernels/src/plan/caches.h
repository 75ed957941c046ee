// The data caches of one core, in bytes.
#pragma once

#include <cstddef>

namespace lth {

struct Caches {
  size_t l1, l2;
};

// What the system says, or usual sizes where it says nothing or nonsense.
const Caches& caches();

}  // namespace lth
