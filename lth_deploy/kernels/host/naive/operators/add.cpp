// add and act, qadd, qresidual and requantize
#include "../op.h"
#include "../requantize.h"

namespace lth {
namespace {

void run(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  for (size_t i = 0; i < out.data.size(); ++i) {
    double sum = 0;
    for (int argument : instr.args) sum += run.tensor(argument).data[i];
    out.data[i] = naive_activation(instr.act, sum);
  }
}

void run_quantized(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  double off = 0;
  for (int argument : instr.args) off += run.tensor(argument).off * run.quantization(argument).scale;
  for (size_t i = 0; i < out.data.size(); ++i) {
    double real = 0;
    for (int argument : instr.args) real += naive_real(run.tensor(argument).data[i], run.quantization(argument));
    out.data[i] = naive_uint8(naive_activation(instr.act, real), instr.quantization);
  }
  out.off = naive_steps_off(off * naive_slope(instr.act), instr.quantization);
}

void run_residual(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  const int x = instr.args[0], y = instr.args[1];
  for (size_t i = 0; i < out.data.size(); ++i) {
    const double real = naive_real(run.tensor(y).data[i], run.quantization(y));
    const double sum = naive_real(run.tensor(x).data[i], run.quantization(x)) + naive_activation(instr.act, real);
    out.data[i] = naive_uint8(sum, instr.quantization);
  }
  const double off = run.tensor(x).off * run.quantization(x).scale +
                     run.tensor(y).off * run.quantization(y).scale * naive_slope(instr.act);
  out.off = naive_steps_off(off, instr.quantization);
}

}  // namespace

extern constexpr NaiveOp kNaiveAdd{nullptr, run}, kNaiveAct{nullptr, run};
extern constexpr NaiveOp kNaiveQAdd{nullptr, run_quantized}, kNaiveRequantize{nullptr, run_quantized};
extern constexpr NaiveOp kNaiveQResidual{nullptr, run_residual};

}  // namespace lth
