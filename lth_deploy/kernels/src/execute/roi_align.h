// Means over the bins of boxes, as ONNX's RoiAlign (from opset 16 on, mode avg) computes them.
#pragma once

#include <cstdint>
#include <string>

#include "plan/region.h"

namespace lth {

constexpr int64_t kMaxFixedSamples = 16;

struct RoiAlign {
  int64_t height = 0, width = 0;  // bins of a box
  int64_t samples = 0;            // of a bin in each direction; 0: one for each pixel of its size, rounded up
  float scale = 1.f;              // from the boxes' units to pixels of the image
  bool half_pixel = false;        // boxes are shifted by half a pixel and keep their size; else they have a pixel at least
};

// Images [images, channels, rows, columns] and boxes [count, 4] of x1, y1, x2, y2, each with the number of its image.
struct Boxes {
  const float* features = nullptr;
  int64_t images = 0, channels = 0, rows = 0, columns = 0;
  const float* corners = nullptr;
  const int64_t* image = nullptr;
  int64_t count = 0;
};

// Writes [count, channels, height, width]. Throws Error where a box is of no image, or there is no such instruction set.
void roi_align(const RoiAlign&, const Boxes&, const std::string& isa, Parallel&, float* out);

}  // namespace lth
