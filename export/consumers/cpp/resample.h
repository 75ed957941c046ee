// Images at another size, with the same bytes as lth_deploy/resampling.py computes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "images.h"

// method: bilinear (without antialiasing, as OpenCV), bilinear-antialiased or bicubic-antialiased (as Pillow, which
// rounds between its two steps: down_first has the height before the width). Throws.
Image resized(const Image& image, int64_t height, int64_t width, const std::string& method, bool down_first);

// Pixels between those of the image, at positions that count from the middle of its first one; pad [3] lies around it.
Image warped(const Image& image, const std::vector<double>& rows, const std::vector<double>& columns,
             const uint8_t* pad);

// As it is to be seen, by EXIF orientation 1..8.
Image upright(Image image, int64_t orientation);
