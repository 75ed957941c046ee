// shuffle
#include <algorithm>

#include "../op.h"

namespace lth {
namespace {

void run(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  const NaiveTensor& in = run.tensor(instr.args[0]);
  out.exact = in.exact;
  const int64_t of_group = out.plane.c / instr.groups;
  for (int64_t n = 0; n < out.plane.n; ++n) {
    for (int64_t g = 0; g < instr.groups; ++g) {
      for (int64_t k = 0; k < of_group; ++k) {
        const double* from = in.channel(n, g * of_group + k);
        std::copy(from, from + out.plane.h * out.plane.w, out.channel(n, k * instr.groups + g));
      }
    }
  }
}

}  // namespace

extern constexpr NaiveOp kNaiveShuffle{nullptr, run};

}  // namespace lth
