// concat and qconcat
#include <algorithm>

#include "../op.h"

namespace lth {
namespace {

void run(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  out.exact = true;
  for (int argument : instr.args) out.exact = out.exact && run.tensor(argument).exact;
  for (int64_t n = 0; n < out.plane.n; ++n) {
    double* to = out.channel(n, 0);
    for (int argument : instr.args) {
      const NaiveTensor& part = run.tensor(argument);
      to = std::copy(part.channel(n, 0), part.channel(n, part.plane.c), to);
    }
  }
}

}  // namespace

extern constexpr NaiveOp kNaiveConcat{nullptr, run}, kNaiveQConcat{nullptr, run};

}  // namespace lth
