// spacetodepth
#include "../op.h"

namespace lth {
namespace {

void shape(const NaiveShapes& shapes, const Instr& instr, Plane& plane) {
  const Plane& in = shapes.planes[instr.args[0]];
  const int64_t block = instr.window.kh;
  if (in.h % block != 0 || in.w % block != 0) throw Error("no whole number of blocks");
  plane = {in.n, instr.channels, in.h / block, in.w / block};
}

void run(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  const NaiveTensor& in = run.tensor(instr.args[0]);
  out.exact = in.exact;
  const int64_t block = instr.window.kh;
  for (int64_t n = 0; n < in.plane.n; ++n) {
    for (int64_t c = 0; c < in.plane.c; ++c) {
      for (int64_t y = 0; y < in.plane.h; ++y) {
        for (int64_t x = 0; x < in.plane.w; ++x) {
          const int64_t row = y % block, column = x % block;
          const int64_t place = instr.option == 0 ? row * block + column : column * block + row;
          out.channel(n, place * in.plane.c + c)[y / block * out.plane.w + x / block] = in.channel(n, c)[y * in.plane.w + x];
        }
      }
    }
  }
}

}  // namespace

extern constexpr NaiveOp kNaiveSpaceToDepth{shape, run};

}  // namespace lth
