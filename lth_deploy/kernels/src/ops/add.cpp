// add TENSOR TENSOR act= and act TENSOR act=
// qadd TENSOR TENSOR act= out=, qresidual TENSOR TENSOR act= out= and requantize TENSOR act= out=
#include "execute/call.h"
#include "ops/two_tensors.h"

namespace lth {
namespace {

void parse_one(Operands& operands, Instr& instr) {
  instr.args = {operands.tensor()};
  instr.act = operands.act();
}

void parse_one_quantized(Operands& operands, Instr& instr) {
  parse_one(operands, instr);
  operands.out(false, instr);
}

void parse_two_quantized(Operands& operands, Instr& instr) {
  parse_two_tensors(operands, instr);
  operands.out(false, instr);
}

void check_act(const Fields& line, const Program&, Instr& instr) {
  if (instr.act.kind == ActKind::kNone) line.fail("an act of its own is not none");
}

void run(Call& call, int i, const Instr& in) {
  const Finish finish = finish_of(in.act);
  call.each_plane(i, [&](int n, int c) {
    const float* const y = in.args.size() > 1 ? call.plane(in.args[1], n, c) : nullptr;
    call.isa.add(call.plane(in.args[0], n, c), y, call.cells(i), finish, call.plane(i, n, c));
  });
}

void run_quantized(Call& call, int i, const Instr& in) {
  const Requantize requantize = requantize_of(call.compiled.program, in);
  call.each_plane(i, [&](int n, int c) {
    call.isa.add_quantized(call.cells_of(in.args[0], n, c), call.cells_of(in.args[1], n, c), call.cells(i), requantize,
                           call.cells_of(i, n, c));
  });
}

void run_residual(Call& call, int i, const Instr& in) {
  const Requantize requantize = residual_of(call.compiled.program, in);
  call.each_plane(i, [&](int n, int c) {
    call.isa.add_activated(call.cells_of(in.args[0], n, c), call.cells_of(in.args[1], n, c), call.cells(i), requantize,
                           call.cells_of(i, n, c));
  });
}

ByteTable table(const Program& program, const Instr& in, const Isa& isa) {
  return activation_table(program.instrs[in.args[0]].quantization, in.act, in.quantization, isa);
}

void run_table(Call& call, int i, const Instr& in) {
  const ByteTable& table = call.compiled.tables[i];
  call.each_plane(i, [&](int n, int c) {
    call.isa.look_up(call.cells_of(in.args[0], n, c), call.cells(i), table.data(), call.cells_of(i, n, c));
  });
}

constexpr OpDef add() {
  OpDef op;
  op.name = "add";
  op.writes_in_step = true;
  op.parse = parse_two_tensors;
  op.check = check_two_tensors;
  op.run = run;
  return op;
}

constexpr OpDef act() {
  OpDef op = add();
  op.name = "act";
  op.parse = parse_one;
  op.check = check_act;
  return op;
}

constexpr OpDef qadd() {
  OpDef op = add();
  op.name = "qadd";
  op.takes = Takes::kQuantized;
  op.parse = parse_two_quantized;
  op.run = run_quantized;
  return op;
}

constexpr OpDef qresidual() {
  OpDef op = qadd();
  op.name = "qresidual";
  op.since = 4;
  op.run = run_residual;
  return op;
}

constexpr OpDef requantize() {
  OpDef op = qadd();
  op.name = "requantize";
  op.parse = parse_one_quantized;
  op.check = nullptr;
  op.table = table;
  op.run = run_table;
  return op;
}

}  // namespace

extern constexpr OpDef kAddOp = add(), kActOp = act(), kQAddOp = qadd(), kQResidualOp = qresidual(),
                       kRequantizeOp = requantize();

}  // namespace lth
