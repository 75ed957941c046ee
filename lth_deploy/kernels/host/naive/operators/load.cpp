// load and loadrows
#include <algorithm>

#include "../op.h"

namespace lth {
namespace {

void shape(const NaiveShapes& shapes, const Instr& instr, Plane& plane) {
  const Shape& shape = shapes.inputs[instr.args[0]];
  if (shape.rank != (instr.rows ? 2 : 4)) throw Error("an input of another rank");
  plane = {shape.dims[0], shape.dims[1], instr.rows ? 1 : shape.dims[2], instr.rows ? 1 : shape.dims[3]};
  if (plane.c != instr.channels) throw Error("an input with other channels");
}

void run(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  std::copy_n(run.input(instr.args[0]), out.data.size(), out.data.begin());
  out.exact = true;
}

}  // namespace

extern constexpr NaiveOp kNaiveLoad{shape, run}, kNaiveLoadRows{shape, run};

}  // namespace lth
