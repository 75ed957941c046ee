#include "engine.h"

#include <stdexcept>

#include "ncnn.h"
#include "onnxruntime.h"
#include "openvino.h"

size_t width_of(int type) {
  switch (type) {
    case 2:   // uint8
    case 3:   // int8
    case 9:   // bool
      return 1;
    case 4:   // uint16
    case 5:   // int16
    case 10:  // float16
    case 16:  // bfloat16
      return 2;
    case 1:   // float
    case 6:   // int32
    case 12:  // uint32
      return 4;
    case 7:   // int64
    case 11:  // double
    case 13:  // uint64
      return 8;
    default:
      throw std::runtime_error("tensors of ONNX's element type " + std::to_string(type) + " are not supported");
  }
}

int64_t product_of(const std::vector<int64_t>& dims) {
  int64_t product = 1;
  for (const int64_t dim : dims) product *= dim;
  return product;
}

int64_t Tensor::size() const { return product_of(dims); }

size_t Tensor::bytes() const { return static_cast<size_t>(size()) * width_of(type); }

std::unique_ptr<Engine> load_engine(const std::string& name, const std::vector<std::string>& libraries) {
  if (name == "onnxruntime") return std::make_unique<OnnxRuntime>(libraries);
  if (name == "openvino") return std::make_unique<OpenVino>(libraries);
  if (name == "ncnn") return std::make_unique<Ncnn>(libraries);
  throw std::runtime_error("unknown engine " + name);
}
