#include "oracle.h"

#include <algorithm>
#include <cmath>

#include "attributes.h"
#include "naive/roi_align.h"
#include "program/weights.h"

namespace lth::host {
namespace {

constexpr double kFloatError = 1e-5;  // of the sums of floats of a RoiAlign, relative to the largest pixel

Weight decoded(const Node& node, const WeightDecl& decl) {
  const auto bytes = [&](int input) {
    const Array& array = node.inputs.at(static_cast<size_t>(input));
    return Bytes{array.bytes.data(), array.bytes.size()};
  };
  return decode_weight(decl, decl.coding == Coding::kDense ? Bytes() : bytes(decl.positions_input),
                       bytes(decl.values_input));
}

NaiveResult region(const Node& node) {
  const Program program = parse_program(node.text, static_cast<int>(node.inputs.size()));
  std::vector<Weight> weights;
  for (const WeightDecl& decl : program.weights) weights.push_back(decoded(node, decl));
  std::vector<Shape> shapes;
  std::vector<const float*> inputs;
  for (int i = 0; i < program.inputs; ++i) {
    const Array& array = node.inputs[static_cast<size_t>(i)];
    if (array.type != ort::kFloat || array.dims.size() < 2 || array.dims.size() > 4) throw Error("unfit input");
    Shape shape;
    shape.rank = static_cast<int>(array.dims.size());
    std::copy(array.dims.begin(), array.dims.end(), shape.dims.begin());
    shapes.push_back(shape);
    inputs.push_back(reinterpret_cast<const float*>(array.bytes.data()));
  }
  return run_naive(program, weights, shapes, inputs);
}

int64_t number(const Node& node, const char* name, int64_t least, int64_t most) {
  const int64_t value = int_of(node, name);
  if (value < least || value > most) throw Error(std::string("unfit ") + name);
  return value;
}

RoiAlign attributes(const Node& node) {
  RoiAlign how;
  const std::string place = string_of(node, "coordinate_transformation_mode");
  how.half_pixel = place == "half_pixel";
  how.height = number(node, "output_height", 1, 256);
  how.width = number(node, "output_width", 1, 256);
  how.samples = number(node, "sampling_ratio", 0, 16);
  how.scale = float_of(node, "spatial_scale");
  const bool fits = string_of(node, "mode") == "avg" && (how.half_pixel || place == "output_half_pixel") &&
                    how.scale > 0.f && std::isfinite(how.scale);
  if (!fits) throw Error("unfit attributes");
  return how;
}

const Array& input(const Node& node, size_t index, ort::ElementType type, size_t rank) {
  const Array& array = node.inputs[index];
  if (array.type != type || array.dims.size() != rank) throw Error("unfit input");
  return array;
}

Boxes boxes_of(const Node& node) {
  if (node.inputs.size() != 3 || node.outputs != 1) throw Error("unfit node");
  const Array& images = input(node, 0, ort::kFloat, 4);
  const Array& corners = input(node, 1, ort::kFloat, 2);
  const Array& image = input(node, 2, ort::kInt64, 1);
  if (corners.dims[1] != 4 || image.dims[0] != corners.dims[0]) throw Error("unfit boxes");
  Boxes boxes;
  boxes.features = reinterpret_cast<const float*>(images.bytes.data());
  boxes.images = images.dims[0], boxes.channels = images.dims[1];
  boxes.rows = images.dims[2], boxes.columns = images.dims[3];
  boxes.corners = reinterpret_cast<const float*>(corners.bytes.data());
  boxes.image = reinterpret_cast<const int64_t*>(image.bytes.data());
  boxes.count = corners.dims[0];
  const bool known = std::all_of(boxes.image, boxes.image + boxes.count,
                                 [&](int64_t i) { return i >= 0 && i < boxes.images; });
  if (!known || (boxes.count > 0 && (boxes.rows == 0 || boxes.columns == 0))) throw Error("a box without a picture");
  return boxes;
}

NaiveResult roi_align(const Node& node) {
  const RoiAlign how = attributes(node);
  const Boxes boxes = boxes_of(node);
  NaiveResult result;
  for (size_t i = 0; i < node.inputs[0].bytes.size() / sizeof(float); ++i) {
    const double magnitude = std::fabs(static_cast<double>(boxes.features[i]));
    if (!std::isnan(result.scale) && !(magnitude <= result.scale)) result.scale = magnitude;  // a NaN stays
  }
  result.shapes.push_back({4, {boxes.count, boxes.channels, how.height, how.width}});
  result.outputs.push_back(naive_roi_align(how, boxes));
  result.tolerance.push_back(kFloatError * result.scale);
  return result;
}

}  // namespace

NaiveResult oracle(const Node& node) { return node.op == "RoiAlign" ? roi_align(node) : region(node); }

}  // namespace lth::host
