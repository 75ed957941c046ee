// add and act, qadd and requantize
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

}  // namespace

extern constexpr NaiveOp kNaiveAdd{nullptr, run}, kNaiveAct{nullptr, run};
extern constexpr NaiveOp kNaiveQAdd{nullptr, run_quantized}, kNaiveRequantize{nullptr, run_quantized};

}  // namespace lth
