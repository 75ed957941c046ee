// load, loadrows and loadtokens
#include <algorithm>

#include "../op.h"

namespace lth {
namespace {

constexpr int64_t kMostRows = int64_t{1} << 31;

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

// The rows of all matrices lie behind each other, and are as many.
void shape_tokens(const NaiveShapes& shapes, const Instr& instr, Plane& plane) {
  const Shape& shape = shapes.inputs[instr.args[0]];
  if (shape.rank != 3 || shape.dims[2] != instr.channels) throw Error("an input of another rank, or with other channels");
  for (const Shape& other : shapes.inputs) {
    if (other.rank == 3 && (other.dims[0] != shape.dims[0] || other.dims[1] != shape.dims[1])) throw Error("other rows");
  }
  if (shape.dims[0] > kMostRows || shape.dims[1] > kMostRows) throw Error("too many rows");
  plane = {shape.dims[0] * shape.dims[1], shape.dims[2], 1, 1};
}

}  // namespace

extern constexpr NaiveOp kNaiveLoad{shape, run}, kNaiveLoadRows{shape, run}, kNaiveLoadTokens{shape_tokens, run};

}  // namespace lth
