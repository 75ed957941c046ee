// concat TENSOR TENSOR...: of channels
// qconcat TENSOR TENSOR...: of quantized tensors, with any numbers of channels
#include <cstring>

#include "execute/byte_pieces.h"
#include "execute/call.h"
#include "ops/op.h"
#include "program/checks.h"

namespace lth {
namespace {

void parse(Operands& operands, Instr& instr) {
  do instr.args.push_back(operands.tensor());
  while (!operands.done());
}

bool same(const Quantization& a, const Quantization& b) { return a.scale == b.scale && a.zero_point == b.zero_point; }

void check(const Fields& line, const Program& program, Instr& instr) {
  const std::vector<int>& parts = instr.args;
  const bool any_channels = instr.op == Op::kQConcat;
  if (parts.size() < 2) line.fail("concat joins two tensors or more");
  const Instr& first = program.instrs[parts[0]];
  int64_t channels = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const Instr& part = program.instrs[parts[i]];
    if (part.quantized != first.quantized || (part.quantized && !same(part.quantization, first.quantization))) {
      line.fail("the parts of a concat have one type, one scale and one zero point");
    }
    if (part.quantized && !any_channels && i + 1 < parts.size() && !whole_cells(part.channels)) {
      line.fail("all quantized parts of a concat but the last have a multiple of 4 channels; qconcat takes any");
    }
    channels += part.channels;
  }
  instr.channels = checked_channels(line, channels);
}

// The type of the result is that of the parts, whatever the operator takes.
void check_quantized(const Fields& line, const Program& program, Instr& instr) {
  check(line, program, instr);
  instr.quantized = true;
  instr.quantization = program.instrs[instr.args[0]].quantization;
}

void run(Call& call, int i, const Instr& in) {
  int base = 0;
  for (int a : in.args) {
    const bool in_place = call.plane(a, 0, 0) == call.plane(i, 0, base) && call.buffer(a).planes == call.buffer(i).planes;
    if (!in_place) {
      call.each_plane(
          a, [&](int n, int c) { std::memcpy(call.plane(i, n, base + c), call.plane(a, n, c), call.cells(a) * 4); });
    }
    base += call.tensor(a).planes;
  }
}

void run_quantized(Call& call, int i, const Instr& in) {
  call.each_plane(i, [&](int n, int c) {
    BytePieces pieces;
    int first = 0;  // channel of the part
    for (int a : in.args) {
      pieces.add(call, a, n, -first, 4 * c, call.channels_in(i, c));
      first += call.tensor(a).channels;
    }
    pieces.assemble(call, call.cells(i), call.cells_of(i, n, c));
  });
}

constexpr OpDef concat() {
  OpDef op;
  op.name = "concat";
  op.takes = Takes::kEither;
  op.placement = Placement::kAssembled;
  op.parse = parse;
  op.check = check;
  op.run = run;
  return op;
}

constexpr OpDef qconcat() {
  OpDef op;
  op.name = "qconcat";
  op.since = 3;
  op.takes = Takes::kQuantized;
  op.parse = parse;
  op.check = check_quantized;
  op.run = run_quantized;
  return op;
}

}  // namespace

extern constexpr OpDef kConcatOp = concat(), kQConcatOp = qconcat();

}  // namespace lth
