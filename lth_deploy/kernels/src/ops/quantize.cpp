// quantize TENSOR out= and dequantize TENSOR
#include <array>

#include "execute/call.h"
#include "execute/input_pixels.h"
#include "ops/op.h"

namespace lth {
namespace {

void parse(Operands& operands, Instr& instr) {
  instr.args = {operands.tensor()};
  operands.out(false, instr);
}

// An input of the node, or a space-to-depth of one, that nothing else reads: it is left out.
void load_quantized(Call& call, int i, const Instr& in) {
  const PlaneShape& plane = call.tensor(i).plane;
  call.each_plane(i, [&](int n, int c) {
    const int channels = call.channels_in(i, c);
    std::array<Pixels, 4> pixels;
    for (int k = 0; k < channels; ++k) pixels[k] = input_pixels(call, in.args[0], n, 4 * c + k);
    call.isa.load_quantized(pixels.data(), channels, plane, in.quantization, call.cells_of(i, n, c));
  });
}

void run(Call& call, int i, const Instr& in) {
  const int x = in.args[0];
  if (call.compiled.fused_io[x]) return load_quantized(call, i, in);
  call.each_plane(i, [&](int n, int c) {
    call.isa.quantize(call.plane(x, n, 4 * c), call.buffer(x).cells, call.channels_in(i, c), call.cells(i),
                      in.quantization, call.cells_of(i, n, c));
  });
}

void parse_dequantize(Operands& operands, Instr& instr) { instr.args = {operands.tensor()}; }

void run_dequantize(Call& call, int i, const Instr& in) {
  const int x = in.args[0];
  call.each_plane(x, [&](int n, int c) {
    call.isa.dequantize(call.cells_of(x, n, c), call.cells(i), call.quantization(x), call.plane(i, n, 4 * c),
                        call.buffer(i).cells, call.channels_in(i, c));
  });
}

constexpr OpDef quantize() {
  OpDef op;
  op.name = "quantize";
  op.parse = parse;
  op.run = run;
  return op;
}

constexpr OpDef dequantize() {
  OpDef op;
  op.name = "dequantize";
  op.takes = Takes::kQuantized;
  op.parse = parse_dequantize;
  op.run = run_dequantize;
  return op;
}

}  // namespace

extern constexpr OpDef kQuantizeOp = quantize(), kDequantizeOp = dequantize();

}  // namespace lth
