// slice and qslice
#include <algorithm>

#include "../op.h"

namespace lth {
namespace {

void run(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  const NaiveTensor& in = run.tensor(instr.args[0]);
  out.exact = in.exact;
  for (int64_t n = 0; n < out.plane.n; ++n) {
    std::copy(in.channel(n, instr.from), in.channel(n, instr.to), out.channel(n, 0));
  }
}

}  // namespace

extern constexpr NaiveOp kNaiveSlice{nullptr, run}, kNaiveQSlice{nullptr, run};

}  // namespace lth
