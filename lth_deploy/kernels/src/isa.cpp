#include "isa.h"

#include "isa_choice.h"
#include "program.h"

namespace lth {

namespace {

struct Candidate {
  const Isa* isa;
  bool runs_here;
};

std::vector<Candidate> candidates() {
  std::vector<Candidate> found;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#ifdef LTH_EMULATE_AVX512
  const bool avx512 = avx2;
#else
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
#endif
  found.push_back({isa_avx512(), avx512});
  found.push_back({isa_avx2(), avx2});
#elif defined(__aarch64__)
  found.push_back({isa_neon(), true});  // part of the base architecture
#endif
  found.push_back({isa_portable(), true});
  return found;
}

}  // namespace

std::vector<std::string> isa_names() {
  std::vector<std::string> names;
  for (const Candidate& c : candidates()) {
    if (c.runs_here) names.push_back(c.isa->name);
  }
  return names;
}

const Isa& choose_isa(const std::string& name) {
  std::string known;
  for (const Candidate& c : candidates()) {
    if (!c.runs_here) continue;
    if (name.empty() || name == c.isa->name) return *c.isa;
    known += (known.empty() ? "" : ", ") + std::string(c.isa->name);
  }
  throw Error("instruction set '" + name + "' is not available on this machine; use one of: " + known);
}

int tile_pitch(const Isa& isa, int family) {
  switch (family) {
    case kTile3: return isa.max_tile_w + 2;
    case kTile3Stride2: return 2 * isa.max_tile_w + 1;
    case kTile7Stride2: return 2 * isa.max_tile_w + 5;
  }
  return 0;
}

}  // namespace lth
