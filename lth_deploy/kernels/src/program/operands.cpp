#include "program/operands.h"

#include <string_view>

#include "program/checks.h"

namespace lth {
namespace {

constexpr double kLeastScale = 1e-12, kLargestScale = 1e12;

}  // namespace

Window read_window(Fields& fields) {
  Window window;
  const auto kernel = fields.numbers<2>("kernel=", 1, 15);
  const auto stride = fields.numbers<2>("stride=", 1, 8);
  const auto pads = fields.numbers<4>("pads=", 0, 14);
  const auto dilation = fields.numbers<2>("dilation=", 1, 8);
  window.kh = kernel[0], window.kw = kernel[1];
  window.sh = stride[0], window.sw = stride[1];
  window.pt = pads[0], window.pl = pads[1], window.pb = pads[2], window.pr = pads[3];
  window.dh = dilation[0], window.dw = dilation[1];
  check_window(fields, window);
  return window;
}

Act read_act(Fields& fields) {
  std::string_view text = fields.value("act=");
  const std::string_view name = text.substr(0, text.find(':'));
  Act act;
  if (text == "none") return act;
  if (text == "relu") {
    act.kind = ActKind::kRelu;
  } else if (text == "silu") {
    act.kind = ActKind::kSilu;
  } else if (text == "hardswish") {
    act.kind = ActKind::kHardSwish;
  } else if (name == "leaky" && text.size() > name.size()) {
    act.kind = ActKind::kLeaky;
    act.a = static_cast<float>(fields.number(text.substr(name.size() + 1), "the slope"));
  } else if (name == "clip" && text.size() > name.size()) {
    act.kind = ActKind::kClip;
    text = text.substr(name.size() + 1);
    const size_t colon = text.find(':');
    if (colon == std::string_view::npos) fields.fail("clip has two bounds, clip:LOW:HIGH");
    const double low = fields.number(text.substr(0, colon), "the lower bound");
    const double high = fields.number(text.substr(colon + 1), "the upper bound");
    if (low > high) fields.fail("the lower bound of clip is above the upper one");
    act.a = static_cast<float>(low);
    act.b = static_cast<float>(high);
  } else {
    fields.fail("act is none, relu, leaky:SLOPE, clip:LOW:HIGH, silu or hardswish; found " + quoted(text));
  }
  return act;
}

bool read_out(Fields& fields, bool floats, Quantized& quantized) {
  std::string_view text = fields.value("out=");
  if (floats && text == "f32") return false;
  if (text.substr(0, 3) != "u8:") fields.fail(std::string("out is ") + (floats ? "f32 or " : "") + "u8:SCALE:ZERO, found " + quoted(text));
  text = text.substr(3);
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) fields.fail("bytes have a scale and a zero point, u8:SCALE:ZERO");
  const double scale = fields.number(text.substr(0, colon), "the scale");
  if (scale < kLeastScale || scale > kLargestScale) fields.fail("the scale lies between 1e-12 and 1e12");
  quantized.scale = static_cast<float>(scale);
  quantized.zero = static_cast<int>(fields.integer(text.substr(colon + 1), 0, 255, "the zero point"));
  return true;
}

Resampling read_linear(Fields& fields) {
  const std::string_view text = fields.value("linear=");
  if (text == "asymmetric") return Resampling::kAsymmetric;
  if (text != "half_pixel") fields.fail("linear is half_pixel or asymmetric; found " + quoted(text));
  return Resampling::kHalfPixel;
}

void read_coding(Fields& fields, WeightDecl& decl) {
  const std::string_view text = fields.next("a coding");
  const size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  if (name == "dense") {
    decl.coding = Coding::kDense;
  } else if (name == "bitmask") {
    decl.coding = Coding::kBitmask;
  } else if (name == "steps8") {
    decl.coding = Coding::kSteps8;
  } else {
    decl.coding = Coding::kGaps;
    for (int bits : {4, 6, 8, 10, 12, 16}) {
      if (name == "gaps" + std::to_string(bits)) decl.gap_bits = bits;
    }
    if (decl.gap_bits == 0) {
      fields.fail("codings are dense, bitmask, steps8, gaps4, 6, 8, 10, 12 and 16; found " + quoted(name));
    }
  }
  if (colon == std::string_view::npos) return;
  if (name == "dense") fields.fail("dense weights have no blocks");
  const std::string_view block = text.substr(colon + 1);
  if (block != "2x1" && block != "1x4" && block != "2x4") fields.fail("blocks are 2x1, 1x4 and 2x4; found " + quoted(block));
  decl.block_rows = block[0] - '0';
  decl.block_columns = block[2] - '0';
}

ValueType read_value_type(Fields& fields) {
  const std::string_view type = fields.next("a type of values");
  if (type == "f32") return ValueType::kFloat;
  if (type == "f16") return ValueType::kHalf;
  if (type == "s8") return ValueType::kInt8;
  if (type != "s32") fields.fail("values are f32, f16, s8 or s32, found " + quoted(type));
  return ValueType::kInt32;
}

}  // namespace lth
