#include "plan/pixel_layer.h"

#include <cstring>

#include "ops/op.h"
#include "plan/pack_dense.h"

namespace lth {
namespace {

constexpr int kRowCells = 16;

void put(std::vector<MatrixRow>& rows, size_t cell, float value) {
  std::memcpy(&rows[cell / kRowCells].cell[cell % kRowCells], &value, sizeof value);
}

}  // namespace

std::vector<bool> single_pixels(const Program& program) {
  std::vector<bool> single;
  for (const Instr& in : program.instrs) {
    const OpDef& op = def_of(in);
    const bool of_first = op.takes != Takes::kInput && single[in.args[0]];
    const bool keeps = op.shape == nullptr || in.op == Op::kMultiply || (in.op == Op::kConv && is_pointwise(in.window));
    const bool means = in.op == Op::kGlobalAveragePool || in.op == Op::kQGlobalAveragePool;
    single.push_back(means || (of_first && keeps));
  }
  return single;
}

PixelLayer pixel_layer(const Instr& in, const std::vector<Weight>& weights, int lanes) {
  const Weight& weight = weights[in.weight];
  const int block = kPixelLines * lanes;
  PixelLayer layer;
  layer.inputs = static_cast<int>(weight.dims[1]);
  layer.blocks = (in.channels + block - 1) / block;
  const size_t cells = static_cast<size_t>(layer.blocks) * block;
  layer.bias.assign(cells / kRowCells, MatrixRow{});
  layer.weights.assign(cells * layer.inputs / kRowCells, MatrixRow{});
  for (size_t i = 0; i < weight.position.size(); ++i) {
    const size_t row = weight.position[i] / layer.inputs, input = weight.position[i] % layer.inputs;
    put(layer.weights, (row / block * layer.inputs + input) * block + row % block, weight.value[i]);
  }
  if (in.bias < 0) return layer;
  const Weight& bias = weights[in.bias];
  for (size_t i = 0; i < bias.position.size(); ++i) put(layer.bias, bias.position[i], bias.value[i]);
  return layer;
}

}  // namespace lth
