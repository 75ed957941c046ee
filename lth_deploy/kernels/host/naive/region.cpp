#include "region.h"

#include <utility>

#include "op.h"

namespace lth {

#define LTH_DECLARE(kind) extern const NaiveOp kNaive##kind;
LTH_OPS(LTH_DECLARE)
#undef LTH_DECLARE

namespace {

constexpr double kMaxWork = 2e9;  // multiplications of one run
constexpr int64_t kMaxTensor = int64_t{1} << 25;

#define LTH_ENTRY(kind) &kNaive##kind,
const NaiveOp* const kTable[] = {LTH_OPS(LTH_ENTRY)};
#undef LTH_ENTRY

}  // namespace

const NaiveOp& naive_op(Op op) { return *kTable[static_cast<size_t>(op)]; }

void NaiveRun::all(const std::vector<Plane>& planes) {
  for (const Plane& plane : planes) {
    if (plane.elements() > kMaxTensor) throw TooLarge("a tensor too large for the oracle");
  }
  tensors_.reserve(planes.size());
  for (const Instr& instr : program_.instrs) {
    NaiveTensor out;
    out.plane = planes[tensors_.size()];
    out.data.resize(static_cast<size_t>(out.plane.elements()));
    for (int argument : arguments_of(instr)) out.off += tensors_[argument].off;
    out.off *= naive_slope(instr.act);
    naive_op(instr.op).run(*this, instr, out);
    if (!instr.quantized) {
      for (double x : out.data) seen(x);
    }
    tensors_.push_back(std::move(out));
  }
}

void NaiveRun::work(double multiplications) {
  work_ += multiplications;
  if (work_ > kMaxWork) throw TooLarge("too many multiplications for the oracle");
}

NaiveResult run_naive(const Program& program, const std::vector<Weight>& weights, const std::vector<Shape>& shapes,
                      const std::vector<const float*>& inputs) {
  const std::vector<Plane> planes = naive_planes(program, shapes);
  NaiveRun run(program, weights, inputs);
  run.all(planes);
  NaiveResult result;
  result.shapes = naive_output_shapes(program, shapes, planes);
  result.scale = run.scale();
  for (const Output& output : program.outputs) {
    result.outputs.push_back(run.tensor(output.tensor).data);
    result.tolerance.push_back(kFloatError * result.scale + run.tensor(output.tensor).off);
  }
  return result;
}

}  // namespace lth
