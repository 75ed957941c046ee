// One convolution in the lane layout, tile by tile.
#pragma once

#include <atomic>
#include <vector>

#include "pack.h"
#include "plan.h"
#include "region.h"
#include "workspace.h"

namespace lth {

struct ConvCall {
  const PackedConv* conv = nullptr;
  const Isa* isa = nullptr;
  const std::vector<Tile>* tiles = nullptr;
  LineMap map;
  Window window;
  bool contiguous = false;  // 1x1, stride 1: reads the line that it writes
  int n = 1;
  int out_w = 1;            // lines in a row of the output
  const float* source = nullptr;
  size_t source_channel = 0, source_image = 0;  // cells
  float* out = nullptr;
  size_t out_channel = 0, out_image = 0;
  const float* add = nullptr;
  size_t add_channel = 0, add_image = 0;
  Epilogue epilogue = Epilogue::kNone;
  float a = 0.f, b = 0.f;

  void set_act(const Act& act);
};

void run_conv(const ConvCall&, Parallel&, Workspace&, std::atomic<int>& threads);

}  // namespace lth
