// One convolution in the lane layout, tile by tile.
#pragma once

#include <atomic>
#include <vector>

#include "execute/workspace.h"
#include "plan/pack.h"
#include "plan/plan.h"
#include "plan/region.h"
#include "plan/requantize.h"

namespace lth {

// Where the channels of a tensor lie, or its cells of four.
struct Planes {
  float* first = nullptr;            // plane 0 of image 0; null for no tensor
  size_t channel = 0, image = 0;     // cells from one plane, and from one image, to the next
};

// Rows of activations where they lie.
struct Matrix {
  const float* rows = nullptr;  // null for none
  int n = 0, channels = 0;
  PlaneShape plane;             // on which the rows would lie as lines
};

struct ConvCall {
  const PackedConv* conv = nullptr;
  const Isa* isa = nullptr;
  const std::vector<Tile>* tiles = nullptr;
  LineMap map;
  Window window;
  bool contiguous = false;  // 1x1, stride 1: reads the line that it writes
  int n = 1;
  int out_h = 1, out_w = 1; // rows of lines of the output, and lines in a row
  PlaneShape source_plane, out_plane;
  Planes source, out, add;  // add: the residual, if there is one
  Planes rounded;           // beside `out`, or instead of it, if there is one: cells of two channels in bf16
  float* pixels = nullptr;  // instead of `out`, for the dense form: an output of the node, [n, channels, H, W]
  Matrix matrix;            // instead of `source`
  Finish finish;
  const uint32_t* bias = nullptr;          // for each row
  const Requantize* requantize = nullptr;  // of int8; null for float32
  uint32_t fill = 0;                       // the cell outside of the image
};

void run_conv(const ConvCall&, Parallel&, Workspace&, std::atomic<int>& threads);

}  // namespace lth
