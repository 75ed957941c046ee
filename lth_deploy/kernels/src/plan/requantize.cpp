#include "plan/requantize.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lth {
namespace {

constexpr int kCellChannels = 4;

// Of each row, what its accumulator starts with: the bias, less what `shift` in every activation adds. It wraps around.
std::vector<uint32_t> folded_bias(const Weight& weight, const Weight* bias, int shift) {
  std::vector<uint32_t> full(weight.dims[0] + kCellChannels, 0);
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

int32_t byte_of(float x, const Quantization& out) {
  const float steps = std::nearbyint(x / out.scale) + static_cast<float>(out.zero_point);
  return static_cast<int32_t>(std::min(std::max(steps, 0.f), 255.f));
}

// Whether it is a function of the real value, which no factor may precede where tensors are quantized.
bool needs_reals(Epilogue epilogue) {
  switch (epilogue) {
    case Epilogue::kNone:
    case Epilogue::kClamp:
    case Epilogue::kLeaky: return false;
#define LTH_SECOND_PASS(kind, ...) \
  case Epilogue::k##kind: return true;
      LTH_SECOND_PASS_ACTIVATIONS(LTH_SECOND_PASS)
#undef LTH_SECOND_PASS
  }
  return false;
}

bool needs_reals(const Act& act) { return needs_reals(finish_of(act).epilogue); }

// Everything that the activation and the result decide. A bound of reals becomes one of uint8: rounding is monotone.
Requantize result_of(const Act& act, const Quantization& out) {
  Requantize q;
  q.zero_point = out.zero_point;
  const Finish finish = finish_of(act);
  if (finish.epilogue == Epilogue::kClamp) {
    q.low = byte_of(finish.a, out);
    q.high = byte_of(finish.b, out);
  } else {
    q.finish = finish;
  }
  if (needs_reals(act)) q.to_steps = 1.f / out.scale;
  return q;
}

// What a function of the activation of an argument needs: its reals, the activation, and the result.
Requantize with_argument(const Program& program, const Instr& instr, int argument) {
  const Quantization& y = program.instrs[instr.args[argument]].quantization;
  Requantize q;
  q.finish = finish_of(instr.act);
  q.zero_point = instr.quantization.zero_point;
  q.to_steps = 1.f / instr.quantization.scale;
  q.add_scale = y.scale;
  q.add_zero = static_cast<float>(y.zero_point);
  return q;
}

}  // namespace

Finish finish_of(const Act& act) {
  switch (act.kind) {
    case ActKind::kNone: return {};
    case ActKind::kRelu: return {Epilogue::kClamp, 0.f, std::numeric_limits<float>::infinity()};
    case ActKind::kClip: return {Epilogue::kClamp, act.a, act.b};
    case ActKind::kLeaky: return {Epilogue::kLeaky, act.a, 0.f};
#define LTH_SECOND_PASS(kind, ...) \
  case ActKind::k##kind: return {Epilogue::k##kind, act.a, act.b};
      LTH_SECOND_PASS_ACTIVATIONS(LTH_SECOND_PASS)
#undef LTH_SECOND_PASS
  }
  return {};
}

Int8Rows int8_rows(const Program& program, const Instr& instr, const Weight& weight, const Weight* bias,
                   const Weight& scales, const Isa& isa) {
  const Quantization& in = program.instrs[instr.args[0]].quantization;
  Int8Rows rows;
  rows.bias = folded_bias(weight, bias, in.zero_point - isa.int8->byte_shift);
  rows.multiplier.assign(static_cast<size_t>(weight.dims[0]) + kCellChannels, 0.f);
  const bool to_steps = instr.quantized && !needs_reals(instr.act);
  for (size_t i = 0; i < scales.value.size(); ++i) {
    const float unit = in.scale * scales.value[i];
    rows.multiplier[scales.position[i]] = to_steps ? unit / instr.quantization.scale : unit;
  }
  if (instr.quantized) {
    rows.requantize = result_of(instr.act, instr.quantization);
  } else {
    rows.requantize.to_floats = true;
    rows.requantize.finish = finish_of(instr.act);
  }
  if (instr.add >= 0) {
    const Quantization& added = program.instrs[instr.add].quantization;
    rows.requantize.add_scale = to_steps ? added.scale / instr.quantization.scale : added.scale;
    rows.requantize.offset = -static_cast<float>(added.zero_point) * rows.requantize.add_scale;
  }
  return rows;
}

Requantize requantize_of(const Program& program, const Instr& instr) {
  Requantize q = result_of(instr.act, instr.quantization);
  const float to_steps = needs_reals(instr.act) ? 1.f : 1.f / instr.quantization.scale;
  const Quantization& x = program.instrs[instr.args[0]].quantization;
  const Quantization& y = program.instrs[instr.args[1]].quantization;
  q.scale = x.scale * to_steps;
  q.add_scale = y.scale * to_steps;
  q.offset = -static_cast<float>(x.zero_point) * q.scale - static_cast<float>(y.zero_point) * q.add_scale;
  return q;
}

Requantize residual_of(const Program& program, const Instr& instr) {
  const Quantization& x = program.instrs[instr.args[0]].quantization;
  Requantize q = with_argument(program, instr, 1);
  q.scale = x.scale * q.to_steps;
  q.offset = -static_cast<float>(x.zero_point) * q.scale;
  return q;
}

Requantize product_of(const Program& program, const Instr& instr) {
  const Quantization& x = program.instrs[instr.args[0]].quantization;
  Requantize q = with_argument(program, instr, 1);
  q.scale = x.scale;
  q.offset = -static_cast<float>(x.zero_point);
  return q;
}

Requantize activated_of(const Program& program, const Instr& instr) { return with_argument(program, instr, 0); }

}  // namespace lth
