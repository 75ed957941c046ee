#include "program/checks.h"

#include "ops/op.h"

namespace lth {
namespace {

constexpr int64_t kMaxElements = int64_t{1} << 29;

std::string text(const std::vector<int64_t>& dims) {
  std::string result;
  for (int64_t dim : dims) result += (result.empty() ? "" : ",") + std::to_string(dim);
  return result;
}

bool is_real(const WeightDecl& decl) { return decl.type == ValueType::kFloat || decl.type == ValueType::kHalf; }

// Checks the types of the arguments, and sets that of a result that keeps the type of its argument.
void check_types(const Fields& line, const Program& program, Instr& instr, const std::vector<int>& arguments) {
  const Takes takes = def_of(instr).takes;
  if (takes == Takes::kEither) {
    const Instr& x = program.instrs[arguments[0]];
    instr.quantized = x.quantized;
    instr.quantization = x.quantization;
    return;
  }
  if (takes == Takes::kMixed) return;
  for (int argument : arguments) expect_quantized(line, program, argument, takes == Takes::kQuantized);
}

void expect_all(const std::vector<bool>& used, const char* name) {
  for (size_t i = 0; i < used.size(); ++i) {
    if (!used[i]) throw Error("program: " + std::string(name) + std::to_string(i) + " is never used");
  }
}

}  // namespace

void expect_dims(const Fields& line, const char* what, const std::vector<int64_t>& found,
                 const std::vector<int64_t>& wanted) {
  if (found == wanted) return;
  line.fail(std::string(what) + " has the dimensions " + text(found) + " instead of " + text(wanted));
}

void check_constant_types(const Fields& line, const Program& program, const Instr& instr) {
  const bool int8 = def_of(instr).int8_weights;
  const WeightDecl& weight = program.weights[instr.weight];
  const bool bf16 = weight.type == ValueType::kBfloat && def_of(instr).bf16_weights;
  if (int8 ? weight.type != ValueType::kInt8 : !is_real(weight) && !bf16) {
    line.fail("quantized convolutions have a weight of s8, others of f32 or f16, and conv and matmul also of bf16");
  }
  if (bf16 && instr.groups != 1) line.fail("a conv with a weight of bf16 has one group");
  if (instr.bias >= 0) {
    const WeightDecl& bias = program.weights[instr.bias];
    expect_dims(line, "the bias", bias.dims, {instr.channels});
    if (int8 ? bias.type != ValueType::kInt32 : !is_real(bias)) {
      line.fail("quantized convolutions have a bias of s32, others of f32 or f16");
    }
  }
  if (!int8) return;
  const WeightDecl& scales = program.weights[instr.scales];
  expect_dims(line, "the scales", scales.dims, {instr.channels});
  if (scales.type != ValueType::kFloat || scales.coding != Coding::kDense) line.fail("scales are dense f32");
}

void expect_real(const Fields& line, const WeightDecl& decl) {
  if (!is_real(decl)) line.fail("a weight that is read as it is has the type f32 or f16");
}

void expect_channel_values(const Fields& line, const WeightDecl& decl, int channels) {
  const std::vector<int64_t>& dims = decl.dims;
  const bool one_each = dims.size() == 1 ? dims[0] == channels
                        : dims.size() == 3 ? dims == std::vector<int64_t>{channels, 1, 1}
                                           : dims == std::vector<int64_t>{1, channels, 1, 1};
  if (!one_each || !is_real(decl)) {
    line.fail("factors and shifts are f32 or f16 of " + std::to_string(channels) + " channels, found the dimensions " + text(dims));
  }
}

void expect_quantized(const Fields& line, const Program& program, int tensor, bool quantized) {
  if (program.instrs[tensor].quantized == quantized) return;
  line.fail("t" + std::to_string(tensor) +
            (quantized ? " is float32 where a quantized tensor is needed" : " is quantized where float32 is needed"));
}

void expect_channels(const Fields& line, const Program& program, int tensor, int channels) {
  const int found = program.instrs[tensor].channels;
  if (found != channels) {
    line.fail("t" + std::to_string(tensor) + " has " + std::to_string(found) + " channels instead of " +
              std::to_string(channels));
  }
}

int checked_channels(const Fields& line, int64_t channels) {
  if (channels > kMaxChannels) line.fail("more than " + std::to_string(kMaxChannels) + " channels");
  return static_cast<int>(channels);
}

int64_t check_weight(const Fields& line, const WeightDecl& decl) {
  const size_t rank = decl.dims.size();
  if (rank < 1 || rank > 4) line.fail("a weight has 1 to 4 dimensions");
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
  const OpDef& op = def_of(instr);
  const std::vector<int> arguments = arguments_of(instr);
  if (!arguments.empty()) {
    const Instr& x = program.instrs[arguments[0]];
    instr.rows = x.rows;
    for (int argument : arguments) {
      if (program.instrs[argument].rows != instr.rows) line.fail("rows and planes in one operator");
    }
    if (instr.rows && op.planes_only) {
      line.fail("this operator takes planes, and t" + std::to_string(arguments[0]) + " is rows");
    }
    check_types(line, program, instr, arguments);
    instr.channels = x.channels;
  }
  if (op.check != nullptr) op.check(line, program, instr);
}

void check_output(const Fields& line, const Program& program, const Output& output) {
  if (program.instrs[output.tensor].rows != output.rows) {
    line.fail("'rows' belongs to the outputs that come from a loadrows or loadtokens, and only to them");
  }
  expect_quantized(line, program, output.tensor, false);
  for (const Output& earlier : program.outputs) {
    if (earlier.tensor == output.tensor) line.fail("t" + std::to_string(output.tensor) + " is an output already");
  }
}

void check_uses(const Program& program) {
  if (program.outputs.empty()) throw Error("program: it has no output");
  bool rows = false, tokens = false;
  for (const Instr& instr : program.instrs) {
    rows = rows || instr.op == Op::kLoadRows;
    tokens = tokens || instr.op == Op::kLoadTokens;
  }
  if (rows && tokens) throw Error("program: loadrows and loadtokens in one program");
  std::vector<bool> inputs(program.inputs), tensors(program.instrs.size()), weights(program.weights.size());
  for (const Instr& instr : program.instrs) {
    if (def_of(instr).takes == Takes::kInput) {
      if (inputs[instr.args[0]]) throw Error("program: input " + std::to_string(instr.args[0]) + " is loaded twice");
      inputs[instr.args[0]] = true;
    }
    for (int tensor : arguments_of(instr)) tensors[tensor] = true;
    if (instr.weight >= 0) weights[instr.weight] = true;
    if (instr.scales >= 0) weights[instr.scales] = true;
    for (int constant : {instr.bias, instr.factor, instr.shift, instr.mean, instr.variance}) {
      if (constant >= 0) weights[constant] = true;
    }
  }
  for (const Output& output : program.outputs) tensors[output.tensor] = true;
  expect_all(inputs, "input ");
  expect_all(tensors, "t");
  expect_all(weights, "w");
}

}  // namespace lth
