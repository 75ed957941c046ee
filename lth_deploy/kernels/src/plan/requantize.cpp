#include "plan/requantize.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lth {
namespace {

constexpr int kQuad = 4;

// Of each row, what its sum starts with: the bias, less what `shift` in every byte adds to the sum. Sums wrap around.
std::vector<uint32_t> folded_bias(const Weight& weight, const Weight* bias, int shift) {
  std::vector<uint32_t> full(weight.dims[0] + 1, 0);
  size_t per_row = 1;
  for (size_t i = 1; i < weight.dims.size(); ++i) per_row *= static_cast<size_t>(weight.dims[i]);
  for (size_t i = 0; bias != nullptr && i < bias->position.size(); ++i) {
    full[bias->position[i]] = static_cast<uint32_t>(bias->integer[i]);
  }
  for (size_t i = 0; i < weight.position.size(); ++i) {
    full[weight.position[i] / per_row] -= static_cast<uint32_t>(shift * weight.integer[i]);
  }
  return full;
}

int32_t byte_of(float x, const Quantized& out) {
  const float steps = std::nearbyint(x / out.scale) + static_cast<float>(out.zero);
  return static_cast<int32_t>(std::min(std::max(steps, 0.f), 255.f));
}

// Whether the activation is a function of the real value, which no factor may precede.
bool needs_reals(const Act& act) { return act.kind == ActKind::kSilu || act.kind == ActKind::kHardSwish; }

// Everything that the activation and the result decide. A bound of reals becomes one of bytes: rounding is monotone.
Requantize result_of(const Act& act, const Quantized& out) {
  Requantize q;
  q.zero = out.zero;
  if (act.kind == ActKind::kRelu) {
    q.low = out.zero;
  } else if (act.kind == ActKind::kClip) {
    q.low = byte_of(act.a, out);
    q.high = byte_of(act.b, out);
  } else {
    q.finish = finish_of(act);
  }
  if (needs_reals(act)) q.to_steps = 1.f / out.scale;
  return q;
}

}  // namespace

Finish finish_of(const Act& act) {
  switch (act.kind) {
    case ActKind::kNone: return {};
    case ActKind::kRelu: return {Epilogue::kClamp, 0.f, std::numeric_limits<float>::infinity()};
    case ActKind::kClip: return {Epilogue::kClamp, act.a, act.b};
    case ActKind::kLeaky: return {Epilogue::kLeaky, act.a, 0.f};
    case ActKind::kSilu: return {Epilogue::kSilu, 0.f, 0.f};
    case ActKind::kHardSwish: return {Epilogue::kHardSwish, 0.f, 0.f};
  }
  return {};
}

QuadRows quad_rows(const Program& program, const Instr& instr, const Weight& weight, const Weight* bias,
                   const Weight& scales, const Isa& isa) {
  const Quantized& in = program.instrs[instr.args[0]].quantized;
  QuadRows rows;
  rows.bias = folded_bias(weight, bias, in.zero - isa.sums->byte_shift);
  rows.multiplier.assign(static_cast<size_t>(weight.dims[0]) + kQuad, 0.f);
  const bool to_steps = instr.bytes && !needs_reals(instr.act);
  for (size_t i = 0; i < scales.value.size(); ++i) {
    const float unit = in.scale * scales.value[i];
    rows.multiplier[scales.position[i]] = to_steps ? unit / instr.quantized.scale : unit;
  }
  if (instr.bytes) {
    rows.requantize = result_of(instr.act, instr.quantized);
  } else {
    rows.requantize.to_floats = true;
    rows.requantize.finish = finish_of(instr.act);
  }
  if (instr.add >= 0) {
    const Quantized& added = program.instrs[instr.add].quantized;
    rows.requantize.add_scale = to_steps ? added.scale / instr.quantized.scale : added.scale;
    rows.requantize.offset = -static_cast<float>(added.zero) * rows.requantize.add_scale;
  }
  return rows;
}

Requantize requantize_of(const Program& program, const Instr& instr) {
  Requantize q = result_of(instr.act, instr.quantized);
  const float to_steps = needs_reals(instr.act) ? 1.f : 1.f / instr.quantized.scale;
  const Quantized& x = program.instrs[instr.args[0]].quantized;
  q.scale = x.scale * to_steps;
  q.offset = -static_cast<float>(x.zero) * q.scale;
  if (instr.args.size() > 1) {
    const Quantized& y = program.instrs[instr.args[1]].quantized;
    q.add_scale = y.scale * to_steps;
    q.offset -= static_cast<float>(y.zero) * q.add_scale;
  }
  return q;
}

}  // namespace lth
