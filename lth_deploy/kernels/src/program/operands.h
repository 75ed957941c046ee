// The operands of an instruction, read from the fields of its line.
#pragma once

#include <initializer_list>
#include <string_view>

#include "program/fields.h"
#include "program/program.h"

namespace lth {

constexpr int64_t kMaxChannels = 65536;

// An earlier tensor of this name.
int tensor_named(const Fields& fields, std::string_view name, const Program& program);

// Reads from the left, each operand once and in its place. All functions throw Error where the text does not fit.
class Operands {
 public:
  Operands(Fields& fields, const Program& program) : fields_(fields), program_(program) {}

  bool done() const { return fields_.done(); }
  // Whether the next operand has this key, such as "add=".
  bool has(std::string_view key) const { return fields_.starts_with(key); }
  [[noreturn]] void fail(const std::string& what) const { fields_.fail(what); }

  // An activation input of the node.
  int input();
  // An earlier tensor; of the second form, behind a key.
  int tensor() { return tensor(fields_.next("a tensor")); }
  int keyed_tensor(std::string_view key) { return tensor(fields_.value(key)); }
  // TENSOR WEIGHT [SCALES] BIAS-or-dash
  void weights(bool has_scales, Instr& instr);
  int weight(const char* what) { return weight(fields_.next(what)); }
  // WEIGHT-or-dash: -1 for the dash
  int optional_weight(const char* what);
  // KEY=NUMBER in [low, high]
  int number(std::string_view key, int64_t low, int64_t high);
  // KEY=REAL
  double real(std::string_view key);
  // pads= alone
  void pads(Window& window);
  // kernel=, stride=, pads=, dilation=
  Window window();
  // kernel=, stride=, which are equal
  Window transposed_window();
  // act=
  Act act();
  // out=u8:SCALE:ZERO, and where `or_float` out=f32 as well. Sets the type of the result.
  void out(bool or_float, Instr& instr);
  // KEY=NAME, one of `names`: which one.
  int choice(std::string_view key, std::initializer_list<std::string_view> names);

 private:
  int tensor(std::string_view name) const { return tensor_named(fields_, name, program_); }
  int weight(std::string_view name) const;

  Fields& fields_;
  const Program& program_;
};

// A coding, and where it has them its blocks.
void read_coding(Fields& fields, WeightDecl& decl);

ValueType read_value_type(Fields& fields);

// First version of the program that has the activation, and the version of the latest one.
int since(const Act& act);
int latest_activation();

// The same for the blocks that its coding counts.
int since(const WeightDecl& decl);
int latest_weights();

}  // namespace lth
