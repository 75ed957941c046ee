// Where an input of the node is read by what comes behind its load.
#pragma once

#include "execute/call.h"
#include "ops/block_pixel.h"

namespace lth {

// Plane c of image n of a load, or of a space-to-depth of one, both of which are left out: see Compiled::fused_io.
inline Pixels input_pixels(const Call& call, int tensor, int n, int c) {
  const Instr& in = call.instr(tensor);
  if (in.op == Op::kLoad) {
    const TensorPlan& t = call.tensor(tensor);
    const size_t plane = static_cast<size_t>(n) * t.channels + c;
    return {call.loaded(tensor) + plane * call.pixels(tensor), static_cast<size_t>(t.plane.W), 1};
  }
  const int channels = call.tensor(in.args[0]).channels;
  Pixels p = input_pixels(call, in.args[0], n, c % channels);
  const BlockPixel at = block_pixel(in, c / channels);
  p.first += at.y * p.row + at.x;
  p.row *= static_cast<size_t>(in.window.kh);
  p.column = static_cast<size_t>(in.window.kw);
  return p;
}

}  // namespace lth
