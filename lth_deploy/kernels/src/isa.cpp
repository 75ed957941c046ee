#include "isa.h"

#include "isa_choice.h"
#include "program.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace lth {

namespace {

#if defined(__x86_64__)
// Compilers learnt this name of a feature late. The operating system saves its registers as those of AVX2.
bool has_avxvnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & 1u << 4) != 0;
}
#elif defined(__aarch64__)
// Of the kernel's interface; headers of old systems lack the newer names.
constexpr unsigned long kDotProduct = 1ul << 20;  // HWCAP_ASIMDDP
constexpr unsigned long kI8mm = 1ul << 13;        // HWCAP2_I8MM
#endif

struct Candidate {
  Isa isa;
  bool runs_here;
};

// The same kernels but for the sums of bytes.
Isa with_sums(Isa isa, const ByteSums* sums) {
  isa.name = sums->name;
  isa.sums = sums;
  return isa;
}

std::vector<Candidate> find_candidates() {
  std::vector<Candidate> found;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#ifdef LTH_EMULATE_AVX512
  const bool avx512 = avx2, vnni = false;
#else
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  const bool vnni = avx512 && __builtin_cpu_supports("avx512vnni");
#endif
  found.push_back({with_sums(*isa_avx512(), sums_avx512vnni()), vnni});
  found.push_back({*isa_avx512(), avx512});
  found.push_back({with_sums(*isa_avx2(), sums_avxvnni()), avx2 && has_avxvnni()});
  found.push_back({*isa_avx2(), avx2});
#elif defined(__aarch64__)
  const unsigned long features = getauxval(AT_HWCAP), more = getauxval(AT_HWCAP2);
  found.push_back({with_sums(*isa_neon(), sums_neon_i8mm()), (more & kI8mm) != 0});
  found.push_back({with_sums(*isa_neon(), sums_neon_dot()), (features & kDotProduct) != 0});
  found.push_back({*isa_neon(), true});  // part of the base architecture
#endif
  found.push_back({*isa_portable(), true});
  return found;
}

const std::vector<Candidate>& candidates() {
  static const std::vector<Candidate> found = find_candidates();
  return found;
}

}  // namespace

std::vector<std::string> isa_names() {
  std::vector<std::string> names;
  for (const Candidate& c : candidates()) {
    if (c.runs_here) names.push_back(c.isa.name);
  }
  return names;
}

const Isa& choose_isa(const std::string& name) {
  std::string known;
  for (const Candidate& c : candidates()) {
    if (!c.runs_here) continue;
    if (name.empty() || name == c.isa.name) return c.isa;
    known += (known.empty() ? "" : ", ") + std::string(c.isa.name);
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
