#include "plan/caches.h"

#include <unistd.h>

namespace lth {
namespace {

size_t sound(long size, size_t least, size_t most, size_t usual) {
  return size >= static_cast<long>(least) && size <= static_cast<long>(most) ? static_cast<size_t>(size) : usual;
}

Caches of_this_machine() {
  long l1 = 0, l2 = 0;
#ifdef _SC_LEVEL1_DCACHE_SIZE
  l1 = sysconf(_SC_LEVEL1_DCACHE_SIZE);
#endif
#ifdef _SC_LEVEL2_CACHE_SIZE
  l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
  return {sound(l1, 16 << 10, 1 << 20, 32 << 10), sound(l2, 128 << 10, 64 << 20, 512 << 10)};
}

}  // namespace

const Caches& caches() {
  static const Caches found = of_this_machine();
  return found;
}

}  // namespace lth
