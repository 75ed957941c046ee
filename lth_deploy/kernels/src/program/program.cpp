// Text to Program, line by line. A line is checked as soon as it is read, so that later lines may rely on it.
#include "program/program.h"

#include <algorithm>
#include <string_view>

#include "ops/op.h"
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
constexpr int64_t kMaxVersion = 1000000;
constexpr int64_t kMaxElements = int64_t{1} << 29;
constexpr int64_t kMaxNodeInputs = kMaxInputs + 2 * int64_t{kMaxWeights};

class Parser {
 public:
  Parser(const std::string& text, int node_inputs) : rest_(text), node_inputs_(node_inputs) {
    if (text.size() > kMaxText) throw Error("program: more than 1 MiB of text");
    if (text.empty() || text.back() != '\n') throw Error("program: every line ends in a line feed, also the last one");
  }

  Program parse() {
    version(line());
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
    check_version();
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

  // lth_region VERSION
  void version(Fields fields) {
    fields.expect("lth_region");
    program_.version = static_cast<int>(fields.integer(fields.next("the version"), 1, kMaxVersion, "the version"));
    fields.end();
    const int latest = std::max({latest_operator(), latest_activation(), latest_weights()});
    if (program_.version <= latest) return;
    fields.fail("the program has version " + std::to_string(program_.version) + ", and this library reads version 1" +
                (latest > 1 ? " to " + std::to_string(latest) : "") + "; a newer lth_deploy is needed");
  }

  // A program has one text: the version is the lowest that has all that it uses.
  void check_version() const {
    int needed = 1;
    for (const Instr& instr : program_.instrs) needed = std::max({needed, def_of(instr).since, since(instr.act)});
    for (const WeightDecl& decl : program_.weights) needed = std::max(needed, since(decl));
    if (needed == program_.version) return;
    throw Error("program: it has version " + std::to_string(program_.version) +
                ", and its operators, activations and weights are those of version " + std::to_string(needed));
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
    const std::string_view name = fields.next("an operator");
    Instr instr;
    if (!find_op(name, instr.op)) fields.fail("there is no operator " + quoted(name));
    Operands operands(fields, program_);
    def_of(instr).parse(operands, instr);
    fields.end();
    check_instr(fields, program_, instr);
    program_.instrs.push_back(std::move(instr));
  }

  // output TENSOR [rows]
  void output(Fields fields) {
    if (program_.outputs.size() == kMaxOutputs) fields.fail("more than " + std::to_string(kMaxOutputs) + " outputs");
    fields.expect("output");
    Output output;
    output.tensor = tensor_named(fields, fields.next("a tensor"), program_);
    if (!fields.done()) {
      fields.expect("rows");
      output.rows = true;
    }
    fields.end();
    check_output(fields, program_, output);
    program_.outputs.push_back(output);
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
