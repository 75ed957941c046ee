#include "isa/isa.h"

#include "error.h"
#include "isa/dispatch.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
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

#ifndef LTH_NO_AVX512
// Whether the processor has matrix tiles with products of int8, and the system saves them. Processors without say so in
// leaf 7; in between, a hypervisor may hide the state that XCR0 names.
bool has_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kTile = 1u << 24, kInt8 = 1u << 25, kSaved = 3u << 17;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kTile) == 0 || (d & kInt8) == 0) return false;
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & kSaved) == kSaved;
}

// The tiles' products of bf16 and AVX512-BF16, which the processors with those of int8 have as well.
bool has_amx_bf16() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __builtin_cpu_supports("avx512bf16") && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & 1u << 22) != 0;
}

// Tiles are 8 kB of state that a process must ask for. Old kernels do not know the request, and it is refused where a
// thread has a small stack for signals; later such stacks are refused. So the request is made only where tiles are used.
bool amx_permitted() {
#ifdef SYS_arch_prctl
  constexpr int kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA
  static const bool permitted = has_amx() && syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
  return permitted;
#else
  return false;
#endif
}
#endif
#elif defined(__aarch64__)
// Of the kernel's interface; headers of old systems lack the newer names.
constexpr unsigned long kDotProduct = 1ul << 20;  // HWCAP_ASIMDDP
constexpr unsigned long kI8mm = 1ul << 13;        // HWCAP2_I8MM
#endif

struct Candidate {
  Isa isa;
  bool runs_here;
  bool (*permitted)() = nullptr;  // null where no permission is needed

  bool usable() const { return runs_here && (permitted == nullptr || permitted()); }
};

// The same kernels but for convolutions of int8 weights.
Isa with_int8(Isa isa, const Int8Kernels* int8) {
  isa.name = int8->name;
  isa.int8 = int8;
  return isa;
}

#if defined(__x86_64__) && !defined(LTH_NO_AVX512)
Isa with_dense(Isa isa, const DenseKernels* dense, const DenseKernels* bf16) {
  isa.name = dense->name;
  isa.dense = dense;
  isa.dense_bf16 = bf16;
  return isa;
}
#endif

std::vector<Candidate> find_candidates() {
  std::vector<Candidate> found;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#ifndef LTH_NO_AVX512
#ifdef LTH_EMULATE_AVX512
  const bool avx512 = avx2, vnni = false;
#else
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  const bool vnni = avx512 && __builtin_cpu_supports("avx512vnni");
#endif
  Isa quick = with_int8(*isa_avx512(), int8_avx512vnni());
  if (vnni && __builtin_cpu_supports("avx512vbmi")) quick.look_up = look_up_avx512vbmi;
  if (vnni && __builtin_cpu_supports("avx512bf16")) quick.bf16 = bf16_avx512();
  if (vnni && dense_amx() != nullptr) {
    found.push_back({with_dense(quick, dense_amx(), has_amx_bf16() ? dense_bf16_amx() : nullptr), true, amx_permitted});
  }
  found.push_back({quick, vnni});
  found.push_back({*isa_avx512(), avx512});
#endif
  found.push_back({with_int8(*isa_avx2(), int8_avxvnni()), avx2 && has_avxvnni()});
  found.push_back({*isa_avx2(), avx2});
#elif defined(__aarch64__)
  const unsigned long features = getauxval(AT_HWCAP), more = getauxval(AT_HWCAP2);
  found.push_back({with_int8(*isa_neon(), int8_neon_i8mm()), (more & kI8mm) != 0});
  found.push_back({with_int8(*isa_neon(), int8_neon_dot()), (features & kDotProduct) != 0});
  found.push_back({*isa_neon(), true});  // part of the base architecture
#endif
  found.push_back({*isa_portable(), true});
#ifdef LTH_EMULATED_AMX
  // For tests: never the best, so that only its name chooses it.
  found.push_back({with_dense(vnni ? quick : *isa_avx512(), dense_amx_emulated(), dense_bf16_amx_emulated()), avx512});
#endif
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
    if (c.usable()) names.push_back(c.isa.name);
  }
  return names;
}

const Isa& choose_isa(const std::string& name) {
  for (const Candidate& c : candidates()) {
    if ((name.empty() || name == c.isa.name) && c.usable()) return c.isa;
  }
  std::string known;
  for (const std::string& one : isa_names()) known += (known.empty() ? "" : ", ") + one;
  throw Error("instruction set '" + name + "' is not available on this machine; use one of: " + known);
}

}  // namespace lth
