// subtract
#include "../op.h"

namespace lth {
namespace {

void run(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  const NaiveTensor &x = run.tensor(instr.args[0]), &y = run.tensor(instr.args[1]);
  for (size_t i = 0; i < out.data.size(); ++i) {
    const double difference = x.data[i] - y.data[i];
    run.seen(difference);
    out.data[i] = naive_activation(instr.act, difference);
  }
}

}  // namespace

extern constexpr NaiveOp kNaiveSubtract{nullptr, run};

}  // namespace lth
