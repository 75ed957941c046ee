#include "ort/roi_kernel.h"

#include <cmath>
#include <utility>
#include <vector>

#include "environment.h"
#include "isa/dispatch.h"
#include "ort/ort_access.h"
#include "ort/ort_threads.h"
#include "program/program.h"

namespace lth {
namespace {

constexpr int64_t kMaxBins = 256;  // in each direction
constexpr size_t kMaxText = 64;
constexpr double kMaxElements = 2147483647.;

int64_t bounded(const ort::Api& api, const ort::KernelInfo* info, const char* name, int64_t least, int64_t most) {
  const int64_t value = ort::int_attribute(api, info, name);
  if (value < least || value > most) {
    throw Error(std::string(name) + " is " + std::to_string(value) + ", it lies between " + std::to_string(least) +
                " and " + std::to_string(most));
  }
  return value;
}

// Input `index` of a call, of this type and rank.
ort::Tensor tensor_at(const ort::Api& api, const ort::KernelContext* context, size_t index, ort::ElementType type,
                      size_t rank) {
  const ort::Value* value = nullptr;
  ort::check(api, api.input(context, index, &value));
  if (!value) throw Error("input " + std::to_string(index) + " is left out");
  ort::Tensor tensor = ort::read_tensor(api, value);
  if (tensor.type != type || tensor.dims.size() != rank) {
    throw Error("input " + std::to_string(index) + " has the shape " + ort::shape_text(tensor.dims) +
                " or a type that does not fit");
  }
  return tensor;
}

void check_counts(const ort::Api& api, const ort::KernelInfo* info) {
  size_t inputs = 0, outputs = 0;
  ort::check(api, api.input_count(info, &inputs));
  ort::check(api, api.output_count(info, &outputs));
  if (inputs != 3 || outputs != 1) {
    throw Error("the node has " + std::to_string(inputs) + " inputs and " + std::to_string(outputs) +
                " outputs, a RoiAlign has 3 and 1");
  }
}

void check_images(const Boxes& boxes) {
  for (int64_t i = 0; i < boxes.count; ++i) {
    if (boxes.image[i] < 0 || boxes.image[i] >= boxes.images) {
      throw Error("box " + std::to_string(i) + " is of image " + std::to_string(boxes.image[i]) + ", there are " +
                  std::to_string(boxes.images));
    }
  }
}

Boxes read_boxes(const ort::Api& api, const ort::KernelContext* context) {
  const ort::Tensor images = tensor_at(api, context, 0, ort::kFloat, 4);
  const ort::Tensor corners = tensor_at(api, context, 1, ort::kFloat, 2);
  const ort::Tensor image = tensor_at(api, context, 2, ort::kInt64, 1);
  Boxes boxes;
  boxes.features = static_cast<const float*>(images.data);
  boxes.images = images.dims[0], boxes.channels = images.dims[1];
  boxes.rows = images.dims[2], boxes.columns = images.dims[3];
  boxes.corners = static_cast<const float*>(corners.data);
  boxes.image = static_cast<const int64_t*>(image.data);
  boxes.count = corners.dims[0];
  if (corners.dims[1] != 4 || image.dims[0] != boxes.count) {
    throw Error("boxes have the shape " + ort::shape_text(corners.dims) + " and their images " +
                ort::shape_text(image.dims) + "; they are [n, 4] and [n]");
  }
  if (static_cast<double>(images.elements()) > kMaxElements) {
    throw Error("the images have the shape " + ort::shape_text(images.dims) + ", more than 2^31 - 1 elements");
  }
  check_images(boxes);
  if (boxes.count > 0 && (boxes.rows == 0 || boxes.columns == 0)) throw Error("there are boxes and no pixels");
  return boxes;
}

float* make_output(const ort::Api& api, ort::KernelContext* context, const std::vector<int64_t>& dims) {
  double elements = 1;
  for (int64_t dim : dims) elements *= static_cast<double>(dim);
  if (elements > kMaxElements) {
    throw Error("the output has the shape " + ort::shape_text(dims) + ", more than 2^31 - 1 elements");
  }
  ort::Value* value = nullptr;
  ort::check(api, api.output(context, 0, dims.data(), dims.size(), &value));
  if (!value) throw Error("output 0 is left out");
  void* data = nullptr;
  ort::check(api, api.tensor_data(value, &data));
  return static_cast<float*>(data);
}

}  // namespace

RoiKernel::RoiKernel(const ort::Api& api, const ort::KernelInfo* info, std::string name)
    : api_(api), name_(std::move(name)) {
  check_counts(api, info);
  const std::string mode = ort::string_attribute(api, info, "mode", kMaxText);
  const std::string place = ort::string_attribute(api, info, "coordinate_transformation_mode", kMaxText);
  if (mode != "avg") throw Error("mode is '" + mode + "', the kernel knows avg");
  if (place != "half_pixel" && place != "output_half_pixel") {
    throw Error("coordinate_transformation_mode is '" + place + "', it is half_pixel or output_half_pixel");
  }
  how_.half_pixel = place == "half_pixel";
  how_.height = bounded(api, info, "output_height", 1, kMaxBins);
  how_.width = bounded(api, info, "output_width", 1, kMaxBins);
  how_.samples = bounded(api, info, "sampling_ratio", 0, kMaxFixedSamples);
  how_.scale = ort::float_attribute(api, info, "spatial_scale");
  if (!std::isfinite(how_.scale) || how_.scale <= 0.f) throw Error("spatial_scale is no positive number");
  isa_ = from_environment("LTH_ISA");
  choose_isa(isa_);  // an unknown name is refused with the session, not with its first call
}

void RoiKernel::compute(ort::KernelContext* context) const {
  const Boxes boxes = read_boxes(api_, context);
  const std::vector<int64_t> dims{boxes.count, boxes.channels, how_.height, how_.width};
  float* const out = make_output(api_, context, dims);
  if (boxes.count == 0 || boxes.channels == 0) return;
  ort::Threads threads(api_, context);
  roi_align(how_, boxes, isa_, threads, out);
}

}  // namespace lth
