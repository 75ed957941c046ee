// Which pixel of each square of pixels a space-to-depth puts into a block of channels.
#pragma once

#include "program/program.h"

namespace lth {

struct BlockPixel {
  int y = 0, x = 0;
};

inline BlockPixel block_pixel(const Instr& in, int block) {
  const int major = block / in.window.kh, minor = block % in.window.kh;
  return in.option == 0 ? BlockPixel{major, minor} : BlockPixel{minor, major};
}

}  // namespace lth
