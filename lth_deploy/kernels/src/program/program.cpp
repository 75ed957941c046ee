// Text to Program, line by line. A line is checked as soon as it is read, so that later lines may rely on it.
#include "program/program.h"

#include <string_view>

#include "program/checks.h"
#include "program/fields.h"
#include "program/operands.h"

namespace lth {
namespace {

constexpr size_t kMaxText = size_t{1} << 20;
constexpr int64_t kMaxInputs = 64;
constexpr size_t kMaxOutputs = 64;
constexpr size_t kMaxWeights = 4096;
constexpr size_t kMaxInstrs = 4096;
constexpr int64_t kMaxChannels = 65536;
constexpr int64_t kMaxElements = int64_t{1} << 29;
constexpr int64_t kMaxNodeInputs = kMaxInputs + 2 * int64_t{kMaxWeights};

class Parser {
 public:
  Parser(const std::string& text, int node_inputs) : rest_(text), node_inputs_(node_inputs) {
    if (text.size() > kMaxText) throw Error("program: more than 1 MiB of text");
    if (text.empty() || text.back() != '\n') throw Error("program: every line ends in a line feed, also the last one");
  }

  Program parse() {
    Fields first = line();
    first.expect("lth_region");
    if (first.next("the version") != "1") first.fail("this library reads version 1 of the program");
    first.end();
    Fields second = line();
    second.expect("inputs");
    program_.inputs = static_cast<int>(second.integer(second.next("a number"), 1, kMaxInputs, "inputs"));
    second.end();
    next_input_ = program_.inputs;
    while (more("weight ")) weight(line());
    while (more("t")) instruction(line());
    while (more("output ")) output(line());
    if (!rest_.empty()) line().fail("weights come first, then the tensors t0, t1 and so on, then the outputs");
    if (next_input_ != node_inputs_) {
      throw Error("program: it reads " + std::to_string(next_input_) + " inputs and the node has " +
                  std::to_string(node_inputs_));
    }
    check_uses(program_);
    return std::move(program_);
  }

 private:
  bool more(std::string_view start) const { return rest_.substr(0, start.size()) == start; }

  Fields line() {
    ++number_;
    const size_t end = rest_.find('\n');
    if (end == std::string_view::npos) throw Error("program: it ends after line " + std::to_string(number_ - 1));
    const std::string_view text = rest_.substr(0, end);
    rest_ = rest_.substr(end + 1);
    return Fields(text, number_);
  }

  // weight CODING TYPE DIMS at INPUT[,INPUT]
  void weight(Fields fields) {
    if (program_.weights.size() == kMaxWeights) fields.fail("more than " + std::to_string(kMaxWeights) + " weights");
    WeightDecl decl;
    fields.expect("weight");
    read_coding(fields, decl);
    decl.type = read_value_type(fields);
    decl.dims = fields.list(fields.next("dimensions"), 1, kMaxElements, "a dimension");
    fields.expect("at");
    const bool dense = decl.coding == Coding::kDense;
    const auto inputs = fields.list(fields.next("inputs of the node"), 0, kMaxNodeInputs, "an input of the node");
    if (inputs.size() != (dense ? 1u : 2u)) fields.fail("a dense weight has one input, a coded one has two");
    for (int64_t input : inputs) {
      if (input != next_input_) fields.fail("the next input is " + std::to_string(next_input_));
      ++next_input_;
    }
    if (next_input_ > node_inputs_) fields.fail("the node has only " + std::to_string(node_inputs_) + " inputs");
    if (!dense) decl.positions_input = static_cast<int>(inputs.front());
    decl.values_input = static_cast<int>(inputs.back());
    fields.end();
    elements_ += check_weight(fields, decl);
    if (elements_ > 2 * kMaxElements) fields.fail("all weights together have more than 2^30 elements");
    program_.weights.push_back(std::move(decl));
  }

  // tN = OP ARGUMENTS
  void instruction(Fields fields) {
    if (program_.instrs.size() == kMaxInstrs) fields.fail("more than " + std::to_string(kMaxInstrs) + " instructions");
    fields.expect("t" + std::to_string(program_.instrs.size()));
    fields.expect("=");
    const std::string_view op = fields.next("an operator");
    Instr instr;
    if (op == "load") {
      load(fields, instr, Op::kLoad);
    } else if (op == "loadrows") {
      load(fields, instr, Op::kLoadRows);
    } else if (op == "conv") {
      conv(fields, instr, Op::kConv);
    } else if (op == "qconv") {
      conv(fields, instr, Op::kQConv);
      instr.bytes = read_out(fields, true, instr.quantized);
    } else if (op == "convtranspose") {
      conv_transpose(fields, instr, Op::kConvTranspose);
    } else if (op == "qconvtranspose") {
      conv_transpose(fields, instr, Op::kQConvTranspose);
      instr.bytes = read_out(fields, true, instr.quantized);
    } else if (op == "maxpool") {
      max_pool(fields, instr);
    } else if (op == "resize") {
      instr.op = Op::kResize;
      instr.args = {tensor(fields, fields.next("a tensor")), tensor(fields, fields.value("like="))};
      if (!fields.done()) instr.resampling = read_linear(fields);
    } else if (op == "add") {
      instr.op = Op::kAdd;
      for (int i = 0; i < 2; ++i) instr.args.push_back(tensor(fields, fields.next("a tensor")));
      instr.act = read_act(fields);
    } else if (op == "qadd") {
      instr.op = Op::kQAdd;
      for (int i = 0; i < 2; ++i) instr.args.push_back(tensor(fields, fields.next("a tensor")));
      instr.act = read_act(fields);
      instr.bytes = read_out(fields, false, instr.quantized);
    } else if (op == "quantize" || op == "requantize") {
      instr.op = op == "quantize" ? Op::kQuantize : Op::kRequantize;
      instr.args = {tensor(fields, fields.next("a tensor"))};
      if (instr.op == Op::kRequantize) instr.act = read_act(fields);
      instr.bytes = read_out(fields, false, instr.quantized);
    } else if (op == "dequantize") {
      instr.op = Op::kDequantize;
      instr.args = {tensor(fields, fields.next("a tensor"))};
    } else if (op == "act") {
      instr.op = Op::kAct;
      instr.args = {tensor(fields, fields.next("a tensor"))};
      instr.act = read_act(fields);
    } else if (op == "concat") {
      instr.op = Op::kConcat;
      do instr.args.push_back(tensor(fields, fields.next("a tensor")));
      while (!fields.done());
    } else if (op == "slice") {
      instr.op = Op::kSlice;
      instr.args = {tensor(fields, fields.next("a tensor"))};
      instr.from = static_cast<int>(fields.integer(fields.value("from="), 0, kMaxChannels, "from"));
      instr.to = static_cast<int>(fields.integer(fields.value("to="), 1, kMaxChannels, "to"));
    } else {
      fields.fail("there is no operator " + quoted(op));
    }
    fields.end();
    check_instr(fields, program_, instr);
    program_.instrs.push_back(std::move(instr));
  }

  void load(Fields& fields, Instr& instr, Op op) {
    instr.op = op;
    instr.args = {
        static_cast<int>(fields.integer(fields.next("an input"), 0, program_.inputs - 1, "an activation input"))};
    instr.channels = static_cast<int>(fields.integer(fields.value("channels="), 1, kMaxChannels, "channels"));
  }

  void conv(Fields& fields, Instr& instr, Op op) {
    instr.op = op;
    weighted(fields, instr);
    instr.window = read_window(fields);
    instr.groups = static_cast<int>(fields.integer(fields.value("groups="), 1, kMaxChannels, "groups"));
    if (fields.starts_with("add=")) instr.add = tensor(fields, fields.value("add="));
    instr.act = read_act(fields);
  }

  void conv_transpose(Fields& fields, Instr& instr, Op op) {
    instr.op = op;
    weighted(fields, instr);
    Window& window = instr.window;
    const auto kernel = fields.numbers<2>("kernel=", 1, 15);
    const auto stride = fields.numbers<2>("stride=", 1, 8);
    window.kh = kernel[0], window.kw = kernel[1];
    window.sh = stride[0], window.sw = stride[1];
    if (kernel != stride) fields.fail("a transposed convolution has stride = kernel");
    instr.act = read_act(fields);
  }

  void max_pool(Fields& fields, Instr& instr) {
    instr.op = Op::kMaxPool;
    instr.args = {tensor(fields, fields.next("a tensor"))};
    instr.window = read_window(fields);
  }

  // TENSOR WEIGHT [SCALES] BIAS-or-dash
  void weighted(Fields& fields, Instr& instr) {
    instr.args = {tensor(fields, fields.next("a tensor"))};
    instr.weight = named(fields, fields.next("a weight"), 'w', program_.weights.size());
    if (sums_bytes(instr.op)) instr.scales = named(fields, fields.next("scales"), 'w', program_.weights.size());
    const std::string_view bias = fields.next("a bias, or -");
    if (bias != "-") instr.bias = named(fields, bias, 'w', program_.weights.size());
  }

  // output TENSOR [rows]
  void output(Fields fields) {
    if (program_.outputs.size() == kMaxOutputs) fields.fail("more than " + std::to_string(kMaxOutputs) + " outputs");
    fields.expect("output");
    Output output;
    output.tensor = tensor(fields, fields.next("a tensor"));
    if (!fields.done()) {
      fields.expect("rows");
      output.rows = true;
    }
    fields.end();
    check_output(fields, program_, output);
    program_.outputs.push_back(output);
  }

  int tensor(const Fields& fields, std::string_view name) const {
    return named(fields, name, 't', program_.instrs.size());
  }

  // The number in names such as t12, which must be below `count`.
  static int named(const Fields& fields, std::string_view name, char letter, size_t count) {
    const std::string kind = letter == 't' ? "an earlier tensor" : "a weight";
    if (count == 0 || name.empty() || name[0] != letter) fields.fail("found " + quoted(name) + " instead of " + kind);
    return static_cast<int>(fields.integer(name.substr(1), 0, static_cast<int64_t>(count) - 1, kind.c_str()));
  }

  std::string_view rest_;
  int node_inputs_;
  int number_ = 0;
  int next_input_ = 0;
  int64_t elements_ = 0;
  Program program_;
};

}  // namespace

Program parse_program(const std::string& text, int node_inputs) { return Parser(text, node_inputs).parse(); }

}  // namespace lth
