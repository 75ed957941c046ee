// quantize and dequantize
#include <algorithm>

#include "../op.h"
#include "../requantize.h"

namespace lth {
namespace {

void run(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  const NaiveTensor& x = run.tensor(instr.args[0]);
  std::transform(x.data.begin(), x.data.end(), out.data.begin(), [&](double v) { return naive_uint8(v, instr.quantization); });
  const double off = x.off + (x.exact ? 0. : kFloatError * run.scale());
  out.off = off > 0 ? naive_steps_off(off, instr.quantization) : 0.;
}

void run_dequantize(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  const NaiveTensor& x = run.tensor(instr.args[0]);
  const Quantization& from = run.quantization(instr.args[0]);
  std::transform(x.data.begin(), x.data.end(), out.data.begin(), [&](double v) { return naive_real(v, from); });
  out.off = x.off * from.scale;
}

}  // namespace

extern constexpr NaiveOp kNaiveQuantize{nullptr, run}, kNaiveDequantize{nullptr, run_dequantize};

}  // namespace lth
