#include "layer.h"

#include <algorithm>
#include <cmath>

#include "requantize.h"

namespace lth {
namespace {

// Exactly QLinearConv where nothing is added and the activation only clamps.
double requantized(double sum, float unit, const Act& act, const Quantization& out) {
  const float factor = unit / out.scale;
  double byte = naive_clamped(static_cast<float>(sum) * factor, out);
  if (act.kind == ActKind::kRelu) byte = std::max<double>(byte, out.zero_point);
  if (act.kind == ActKind::kClip) byte = std::min(std::max(byte, naive_uint8(act.a, out)), naive_uint8(act.b, out));
  return byte;
}

bool only_clamps(const Act& act) {
  return act.kind == ActKind::kNone || act.kind == ActKind::kRelu || act.kind == ActKind::kClip;
}

}  // namespace

void start_with_bias(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  if (instr.bias < 0) return;
  const Weight& bias = run.weight(instr.bias);
  const bool quantized = def_of(instr).int8_weights;
  for (size_t i = 0; i < bias.position.size(); ++i) {
    const double value = quantized ? bias.integer[i] : static_cast<double>(bias.value[i]);
    if (!quantized) run.seen(value);
    for (int64_t n = 0; n < out.plane.n; ++n) {
      std::fill_n(out.channel(n, bias.position[i]), out.plane.h * out.plane.w, value);
    }
  }
}

void finish_float(NaiveRun& run, const Instr& instr, NaiveTensor& out) {
  for (size_t i = 0; i < out.data.size(); ++i) {
    if (instr.add >= 0) out.data[i] += run.tensor(instr.add).data[i];
    run.seen(out.data[i]);
    out.data[i] = naive_activation(instr.act, out.data[i]);
  }
}

double largest_row(const Weight& weight, size_t axis) {
  std::vector<double> sums(static_cast<size_t>(weight.dims[axis]));
  int64_t stride = 1;
  for (size_t i = axis + 1; i < weight.dims.size(); ++i) stride *= weight.dims[i];
  for (size_t i = 0; i < weight.position.size(); ++i) {
    const double value = weight.value.empty() ? weight.integer[i] : static_cast<double>(weight.value[i]);
    sums[weight.position[i] / stride % weight.dims[axis]] += std::fabs(value);
  }
  return *std::max_element(sums.begin(), sums.end());
}

void finish_quantized(NaiveRun& run, const Instr& instr, size_t axis, NaiveTensor& made) {
  const NaiveTensor& x = run.tensor(instr.args[0]);
  const NaiveTensor* const add = instr.add < 0 ? nullptr : &run.tensor(instr.add);
  const std::vector<float>& scales = run.weight(instr.scales).value;
  const double largest = largest_row(run.weight(instr.weight), axis);
  const Quantization& in = run.quantization(instr.args[0]);
  const bool exact = instr.quantized && add == nullptr && only_clamps(instr.act);
  double off = 0;
  for (int64_t n = 0; n < made.plane.n; ++n) {
    for (int64_t c = 0; c < made.plane.c; ++c) {
      const float unit = in.scale * scales[static_cast<size_t>(c)];
      off = std::max(off, x.off * largest * unit);
      double* const to = made.channel(n, c);
      for (int64_t i = 0; i < made.plane.h * made.plane.w; ++i) {
        if (exact) {
          to[i] = requantized(to[i], unit, instr.act, instr.quantization);
          continue;
        }
        double v = static_cast<double>(static_cast<float>(to[i])) * unit;
        if (add != nullptr) v += naive_real(add->channel(n, c)[i], run.quantization(instr.add));
        v = naive_activation(instr.act, v);
        to[i] = instr.quantized ? naive_uint8(v, instr.quantization) : v;
      }
    }
  }
  if (add != nullptr) off += add->off * run.quantization(instr.add).scale;
  off *= naive_slope(instr.act);
  made.off = !instr.quantized ? off : exact && off == 0 ? 0 : naive_steps_off(off, instr.quantization);
}

}  // namespace lth
