// An image file as an input of a model: read, resized and normalized as lth_deploy/decoders/image does it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine.h"

// read_ms: from the file to pixels. prepare_ms: from those to values.
struct ImageInput {
  std::vector<uint8_t> bytes;
  Tensor tensor;  // points into bytes
  double read_ms = 0, prepare_ms = 0;
};

// words: image SLOT PATH NAME INPUT, and then keys, each with a value:
//   stored HxW        as the file has it, held to that
//   orientation N     of EXIF, 1..8
//   resize METHOD     none, affine, or a method of resample.h
//   inner HxW         size of the resized image
//   first height|width  which of both is changed first, where that matters
//   corner TOPxLEFT   where it lies on the canvas
//   canvas HxW        size of the input
//   affine R,TOP,LEFT pixels of the canvas for one of the image, and where its edge comes to lie
//   pad R,G,B         around it, 0..255
//   order rgb|bgr     of the channels
//   values S,M,M,M,D,D,D  (pixel x S - M) / D, in the order of the channels; without it the pixels as they are
//   type N            ONNX's number: float, uint8 or float16
//   layout            NCHW, NHWC, CHW or HWC
// Throws std::runtime_error; the message names the file where that is the fault.
ImageInput read_input(const std::vector<std::string>& words);
