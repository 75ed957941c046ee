#include "program/checks.h"

namespace lth {
namespace {

constexpr int64_t kMaxElements = int64_t{1} << 29;
constexpr int kMaxChannels = 65536;

std::string text(const std::vector<int64_t>& dims) {
  std::string result;
  for (int64_t dim : dims) result += (result.empty() ? "" : ",") + std::to_string(dim);
  return result;
}

void expect_dims(const Fields& line, const char* what, const std::vector<int64_t>& found,
                 const std::vector<int64_t>& wanted) {
  if (found != wanted)
    line.fail(std::string(what) + " has the dimensions " + text(found) + " instead of " + text(wanted));
}

bool is_real(const WeightDecl& decl) { return decl.type == ValueType::kFloat || decl.type == ValueType::kHalf; }

void check_bias(const Fields& line, const Program& program, const Instr& instr) {
  if (instr.bias < 0) return;
  const WeightDecl& bias = program.weights[instr.bias];
  expect_dims(line, "the bias", bias.dims, {instr.channels});
  const bool fits = sums_bytes(instr.op) ? bias.type == ValueType::kInt32 : is_real(bias);
  if (!fits) line.fail("convolutions of bytes have a bias of s32, others of f32 or f16");
}

void check_scales(const Fields& line, const Program& program, const Instr& instr) {
  const WeightDecl& scales = program.weights[instr.scales];
  expect_dims(line, "the scales", scales.dims, {instr.channels});
  if (scales.type != ValueType::kFloat || scales.coding != Coding::kDense) line.fail("scales are dense f32");
}

void check_weight_type(const Fields& line, const Program& program, const Instr& instr) {
  const WeightDecl& weight = program.weights[instr.weight];
  const bool fits = sums_bytes(instr.op) ? weight.type == ValueType::kInt8 : is_real(weight);
  if (!fits) line.fail("convolutions of bytes have a weight of s8, others of f32 or f16");
}

bool same(const Quantized& a, const Quantized& b) { return a.scale == b.scale && a.zero == b.zero; }

// Four channels of bytes lie together.
bool whole_quads(int channels) { return channels % 4 == 0; }

void expect_bytes(const Fields& line, const Program& program, int tensor, bool bytes) {
  if (program.instrs[tensor].bytes != bytes) {
    line.fail("t" + std::to_string(tensor) + (bytes ? " is float32 where bytes are needed" : " has bytes where float32 is needed"));
  }
}

bool keeps_type(Op op) { return op == Op::kMaxPool || op == Op::kResize || op == Op::kConcat || op == Op::kSlice; }

// Sets type, scale and zero point of what keeps those of its argument, and checks the types of arguments.
void check_types(const Fields& line, const Program& program, Instr& instr, const std::vector<int>& arguments) {
  if (instr.resampling != Resampling::kNearest) return expect_bytes(line, program, arguments[0], false);
  const Instr& x = program.instrs[arguments[0]];
  if (keeps_type(instr.op)) {
    instr.bytes = x.bytes;
    instr.quantized = x.quantized;
    return;
  }
  const bool bytes = sums_bytes(instr.op) || instr.op == Op::kQAdd || instr.op == Op::kRequantize || instr.op == Op::kDequantize;
  for (int argument : arguments) expect_bytes(line, program, argument, bytes);
}

void check_concat(const Fields& line, const Program& program, const std::vector<int>& parts) {
  if (parts.size() < 2) line.fail("concat joins two tensors or more");
  const Instr& first = program.instrs[parts[0]];
  for (size_t i = 0; i < parts.size(); ++i) {
    const Instr& part = program.instrs[parts[i]];
    if (part.bytes != first.bytes || (part.bytes && !same(part.quantized, first.quantized))) {
      line.fail("the parts of a concat have one type, one scale and one zero point");
    }
    if (part.bytes && i + 1 < parts.size() && !whole_quads(part.channels)) {
      line.fail("of bytes, all parts of a concat but the last have a multiple of 4 channels");
    }
  }
}

void expect_channels(const Fields& line, const Program& program, int tensor, int channels) {
  const int found = program.instrs[tensor].channels;
  if (found != channels) {
    line.fail("t" + std::to_string(tensor) + " has " + std::to_string(found) + " channels instead of " +
              std::to_string(channels));
  }
}

bool is_pointwise(const Window& w) {
  return w.kh == 1 && w.kw == 1 && w.sh == 1 && w.sw == 1 && w.pt + w.pl + w.pb + w.pr == 0 && w.dh == 1 && w.dw == 1;
}

int checked_channels(const Fields& line, int64_t channels) {
  if (channels > kMaxChannels) line.fail("more than " + std::to_string(kMaxChannels) + " channels");
  return static_cast<int>(channels);
}

void check_conv(const Fields& line, const Program& program, Instr& instr) {
  const WeightDecl& weight = program.weights[instr.weight];
  check_weight_type(line, program, instr);
  const std::vector<int64_t>& dims = weight.dims;
  const int in = program.instrs[instr.args[0]].channels;
  if (dims.size() < 2) line.fail("the weight of a conv has one dimension");
  instr.channels = checked_channels(line, dims[0]);
  if (in % instr.groups || instr.channels % instr.groups) {
    line.fail(std::to_string(instr.groups) + " groups do not divide " + std::to_string(in) + " channels into " +
              std::to_string(instr.channels));
  }
  if (instr.rows && (!is_pointwise(instr.window) || instr.groups != 1)) {
    line.fail("a conv of rows has a 1x1 kernel with stride 1, no padding and one group");
  }
  if (instr.rows && dims.size() == 2) {
    expect_dims(line, "the weight", dims, {instr.channels, in});
  } else {
    expect_dims(line, "the weight", dims, {instr.channels, in / instr.groups, instr.window.kh, instr.window.kw});
  }
  check_bias(line, program, instr);
  if (sums_bytes(instr.op)) {
    check_scales(line, program, instr);
    if (instr.groups > 1 && !(whole_quads(in / instr.groups) && whole_quads(instr.channels / instr.groups))) {
      line.fail("groups of bytes take and make a multiple of 4 channels");
    }
    if (!instr.bytes && instr.add >= 0) line.fail("nothing is added where float32 is made");
  }
  if (instr.add >= 0) expect_channels(line, program, instr.add, instr.channels);
}

void check_conv_transpose(const Fields& line, const Program& program, Instr& instr) {
  const std::vector<int64_t>& dims = program.weights[instr.weight].dims;
  check_weight_type(line, program, instr);
  if (dims.size() != 4) line.fail("the weight of a transposed convolution has " + std::to_string(dims.size()) + " dimensions");
  instr.channels = checked_channels(line, dims[1]);
  const int in = program.instrs[instr.args[0]].channels;
  expect_dims(line, "the weight", dims, {in, instr.channels, instr.window.kh, instr.window.kw});
  check_bias(line, program, instr);
  if (sums_bytes(instr.op)) check_scales(line, program, instr);
}

// The tensors that an instruction reads; a load reads an input of the node instead.
std::vector<int> reads(const Instr& instr) {
  if (instr.op == Op::kLoad || instr.op == Op::kLoadRows) return {};
  std::vector<int> result = instr.args;
  if (instr.add >= 0) result.push_back(instr.add);
  return result;
}

void expect_all(const std::vector<bool>& used, const char* name) {
  for (size_t i = 0; i < used.size(); ++i) {
    if (!used[i]) throw Error("program: " + std::string(name) + std::to_string(i) + " is never used");
  }
}

}  // namespace

int64_t check_weight(const Fields& line, const WeightDecl& decl) {
  const size_t rank = decl.dims.size();
  if (rank != 1 && rank != 2 && rank != 4) line.fail("a weight has 2 or 4 dimensions and a bias has one");
  int64_t elements = 1;
  for (int64_t dim : decl.dims) {
    // Both factors are at most 2^29.
    elements *= dim;
    if (elements > kMaxElements) line.fail("a weight of more than 2^29 elements");
  }
  if (decl.block_rows * decl.block_columns > 1 &&
      (rank < 2 || decl.dims[0] % decl.block_rows != 0 || decl.dims[1] % decl.block_columns != 0)) {
    line.fail("the dimensions " + text(decl.dims) + " are no whole number of blocks");
  }
  if (decl.type == ValueType::kInt32 && (decl.coding != Coding::kDense || rank != 1)) {
    line.fail("s32 is for dense biases of one dimension");
  }
  return elements;
}

void check_window(const Fields& line, const Window& w) {
  if (w.pt >= w.kh * w.dh || w.pb >= w.kh * w.dh || w.pl >= w.kw * w.dw || w.pr >= w.kw * w.dw) {
    line.fail("padding is smaller than kernel times dilation");
  }
}

void check_instr(const Fields& line, const Program& program, Instr& instr) {
  const std::vector<int> arguments = reads(instr);
  if (arguments.empty()) {
    instr.rows = instr.op == Op::kLoadRows;
    return;
  }
  instr.rows = program.instrs[arguments[0]].rows;
  for (int argument : arguments) {
    if (program.instrs[argument].rows != instr.rows) line.fail("rows and planes in one operator");
  }
  if (instr.rows && (is_transposed(instr.op) || instr.op == Op::kMaxPool || instr.op == Op::kResize)) {
    line.fail("this operator takes planes, and t" + std::to_string(arguments[0]) + " is rows");
  }
  check_types(line, program, instr, arguments);
  const int channels = program.instrs[arguments[0]].channels;
  int64_t sum = 0;
  switch (instr.op) {
    case Op::kConv:
    case Op::kQConv:
      check_conv(line, program, instr);
      break;
    case Op::kConvTranspose:
    case Op::kQConvTranspose:
      check_conv_transpose(line, program, instr);
      break;
    case Op::kAdd:
    case Op::kQAdd:
      expect_channels(line, program, arguments[1], channels);
      instr.channels = channels;
      break;
    case Op::kAct:
      if (instr.act.kind == ActKind::kNone) line.fail("an act of its own is not none");
      instr.channels = channels;
      break;
    case Op::kConcat:
      check_concat(line, program, arguments);
      for (int argument : arguments) sum += program.instrs[argument].channels;
      instr.channels = checked_channels(line, sum);
      break;
    case Op::kSlice:
      if (instr.from >= instr.to || instr.to > channels) {
        line.fail("t" + std::to_string(arguments[0]) + " has no channels " + std::to_string(instr.from) + " to " +
                  std::to_string(instr.to));
      }
      if (instr.bytes && !whole_quads(instr.from)) line.fail("slices of bytes begin at a multiple of 4");
      instr.channels = instr.to - instr.from;
      break;
    default:
      instr.channels = channels;
  }
}

void check_output(const Fields& line, const Program& program, const Output& output) {
  if (program.instrs[output.tensor].rows != output.rows) {
    line.fail("'rows' belongs to the outputs that come from a loadrows, and only to them");
  }
  expect_bytes(line, program, output.tensor, false);
  for (const Output& earlier : program.outputs) {
    if (earlier.tensor == output.tensor) line.fail("t" + std::to_string(output.tensor) + " is an output already");
  }
}

void check_uses(const Program& program) {
  if (program.outputs.empty()) throw Error("program: it has no output");
  std::vector<bool> inputs(program.inputs), tensors(program.instrs.size()), weights(program.weights.size());
  for (const Instr& instr : program.instrs) {
    if (instr.op == Op::kLoad || instr.op == Op::kLoadRows) {
      if (inputs[instr.args[0]]) throw Error("program: input " + std::to_string(instr.args[0]) + " is loaded twice");
      inputs[instr.args[0]] = true;
    }
    for (int tensor : reads(instr)) tensors[tensor] = true;
    if (instr.weight >= 0) weights[instr.weight] = true;
    if (instr.scales >= 0) weights[instr.scales] = true;
    if (instr.bias >= 0) weights[instr.bias] = true;
  }
  for (const Output& output : program.outputs) tensors[output.tensor] = true;
  expect_all(inputs, "input ");
  expect_all(tensors, "t");
  expect_all(weights, "w");
}

}  // namespace lth
