#include "program/operands.h"

#include <algorithm>
#include <string>

#include "program/checks.h"

namespace lth {
namespace {

constexpr double kLeastScale = 1e-12, kLargestScale = 1e12;

struct ActDef {
  ActKind kind;
  std::string_view form;  // a name, then numbers, each behind a colon
  int since;

  std::string_view name() const { return form.substr(0, form.find(':')); }
  int numbers() const { return static_cast<int>(std::count(form.begin(), form.end(), ':')); }
};

#define LTH_DEF(kind, form, since, ...) {ActKind::k##kind, form, since},
constexpr ActDef kActs[] = {LTH_REGISTER_ACTIVATIONS(LTH_DEF) LTH_SECOND_PASS_ACTIVATIONS(LTH_DEF)};
#undef LTH_DEF

// All forms, as messages list them.
std::string forms() {
  std::string text;
  for (const ActDef& def : kActs) {
    const bool last = &def == std::end(kActs) - 1;
    text += std::string(text.empty() ? "" : last ? " or " : ", ") + std::string(def.form);
  }
  return text;
}

const ActDef& find_act(const Fields& fields, std::string_view text) {
  const std::string_view name = text.substr(0, text.find(':'));
  for (const ActDef& def : kActs) {
    if (def.name() != name) continue;
    if (std::count(text.begin(), text.end(), ':') == def.numbers()) return def;
    fields.fail(std::string(name) + " has the form " + std::string(def.form) + ", found " + quoted(text));
  }
  fields.fail("act is " + forms() + "; found " + quoted(text));
}

// The number in names such as t12, which must be below `count`.
int named(const Fields& fields, std::string_view name, char letter, size_t count) {
  const std::string kind = letter == 't' ? "an earlier tensor" : "a weight";
  if (count == 0 || name.empty() || name[0] != letter) fields.fail("found " + quoted(name) + " instead of " + kind);
  return static_cast<int>(fields.integer(name.substr(1), 0, static_cast<int64_t>(count) - 1, kind.c_str()));
}

}  // namespace

int tensor_named(const Fields& fields, std::string_view name, const Program& program) {
  return named(fields, name, 't', program.instrs.size());
}

int Operands::weight(std::string_view name) const { return named(fields_, name, 'w', program_.weights.size()); }

int Operands::input() {
  return static_cast<int>(
      fields_.integer(fields_.next("an input"), 0, program_.inputs - 1, "an activation input"));
}

void Operands::weights(bool has_scales, Instr& instr) {
  instr.args = {tensor()};
  instr.weight = weight(fields_.next("a weight"));
  if (has_scales) instr.scales = weight(fields_.next("scales"));
  instr.bias = optional_weight("a bias, or -");
}

int Operands::optional_weight(const char* what) {
  const std::string_view name = fields_.next(what);
  return name == "-" ? -1 : weight(name);
}

int Operands::number(std::string_view key, int64_t low, int64_t high) {
  const std::string name(key.substr(0, key.size() - 1));
  return static_cast<int>(fields_.integer(fields_.value(key), low, high, name.c_str()));
}

double Operands::real(std::string_view key) {
  const std::string name(key.substr(0, key.size() - 1));
  return fields_.number(fields_.value(key), name.c_str());
}

void Operands::pads(Window& window) {
  const auto pads = fields_.numbers<4>("pads=", 0, 14);
  window.pt = pads[0], window.pl = pads[1], window.pb = pads[2], window.pr = pads[3];
}

Window Operands::window() {
  Window window;
  const auto kernel = fields_.numbers<2>("kernel=", 1, 15);
  const auto stride = fields_.numbers<2>("stride=", 1, 8);
  pads(window);
  const auto dilation = fields_.numbers<2>("dilation=", 1, 8);
  window.kh = kernel[0], window.kw = kernel[1];
  window.sh = stride[0], window.sw = stride[1];
  window.dh = dilation[0], window.dw = dilation[1];
  check_window(fields_, window);
  return window;
}

Window Operands::transposed_window() {
  Window window;
  const auto kernel = fields_.numbers<2>("kernel=", 1, 15);
  const auto stride = fields_.numbers<2>("stride=", 1, 8);
  window.kh = kernel[0], window.kw = kernel[1];
  window.sh = stride[0], window.sw = stride[1];
  if (kernel != stride) fail("a transposed convolution has stride = kernel");
  return window;
}

Act Operands::act() {
  const std::string_view text = fields_.value("act=");
  const ActDef& def = find_act(fields_, text);
  Act act;
  act.kind = def.kind;
  std::string_view rest = text.substr(def.name().size());
  double numbers[2] = {0., 0.};
  for (int i = 0; i < def.numbers(); ++i) {
    rest = rest.substr(1);
    const size_t end = std::min(rest.find(':'), rest.size());
    numbers[i] = fields_.number(rest.substr(0, end), "a number of the activation");
    rest = rest.substr(end);
  }
  if (act.kind == ActKind::kClip && numbers[0] > numbers[1]) fail("the lower bound of clip is above the upper one");
  act.a = static_cast<float>(numbers[0]);
  act.b = static_cast<float>(numbers[1]);
  if (act.kind == ActKind::kQuotient && act.a == 0.f) fail("the divisor of quotient is zero");
  return act;
}

void Operands::out(bool or_float, Instr& instr) {
  std::string_view text = fields_.value("out=");
  if (or_float && text == "f32") return;
  if (text.substr(0, 3) != "u8:") {
    fail(std::string("out is ") + (or_float ? "f32 or " : "") + "u8:SCALE:ZERO, found " + quoted(text));
  }
  text = text.substr(3);
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) fail("quantized tensors have a scale and a zero point, u8:SCALE:ZERO");
  const double scale = fields_.number(text.substr(0, colon), "the scale");
  if (scale < kLeastScale || scale > kLargestScale) fail("the scale lies between 1e-12 and 1e12");
  instr.quantized = true;
  instr.quantization.scale = static_cast<float>(scale);
  instr.quantization.zero_point = static_cast<int>(fields_.integer(text.substr(colon + 1), 0, 255, "the zero point"));
}

int Operands::choice(std::string_view key, std::initializer_list<std::string_view> names) {
  const std::string_view text = fields_.value(key);
  const auto found = std::find(names.begin(), names.end(), text);
  if (found != names.end()) return static_cast<int>(found - names.begin());
  std::string all;
  for (std::string_view name : names) all += (all.empty() ? "" : " or ") + std::string(name);
  fail(std::string(key.substr(0, key.size() - 1)) + " is " + all + "; found " + quoted(text));
}

int since(const Act& act) {
  for (const ActDef& def : kActs) {
    if (def.kind == act.kind) return def.since;
  }
  return 1;
}

int latest_activation() {
  int latest = 1;
  for (const ActDef& def : kActs) latest = std::max(latest, def.since);
  return latest;
}

int since(const WeightDecl& decl) {
  if (decl.type == ValueType::kBfloat) return kBfloatSince;
  for (const BlockDef& def : kBlocks) {
    if (def.rows == decl.block_rows && def.columns == decl.block_columns) return def.since;
  }
  return 1;
}

int latest_weights() {
  int latest = kBfloatSince;
  for (const BlockDef& def : kBlocks) latest = std::max(latest, def.since);
  return latest;
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
  std::string all;
  for (const BlockDef& def : kBlocks) {
    all += (all.empty() ? "" : ", ") + std::string(def.name);
    if (block != def.name) continue;
    decl.block_rows = def.rows;
    decl.block_columns = def.columns;
    return;
  }
  fields.fail("blocks are " + all + "; found " + quoted(block));
}

ValueType read_value_type(Fields& fields) {
  const std::string_view type = fields.next("a type of values");
  if (type == "f32") return ValueType::kFloat;
  if (type == "f16") return ValueType::kHalf;
  if (type == "bf16") return ValueType::kBfloat;
  if (type == "s8") return ValueType::kInt8;
  if (type != "s32") fields.fail("values are f32, f16, bf16, s8 or s32, found " + quoted(type));
  return ValueType::kInt32;
}

}  // namespace lth
