#include "naive_quantized.h"

#include <algorithm>
#include <cmath>

namespace lth {
namespace {

double clamped(double steps, const Quantized& out) {
  return std::min(std::max(std::nearbyint(steps) + out.zero, 0.), 255.);
}

double byte_of(double x, const Quantized& out) {
  const float steps = static_cast<float>(x) / out.scale;
  return clamped(steps, out);
}

double real_of(double byte, const Quantized& in) { return (byte - in.zero) * static_cast<double>(in.scale); }

// Where only the result is rounded, float32 may decide otherwise at a tie, and reals that are off may move it further.
double steps_off(double off, const Quantized& out) { return std::min(255., std::ceil(off / out.scale) + 1); }

// Exactly QLinearConv where nothing is added and the activation only clamps.
double requantized(double sum, float unit, const Act& act, const Quantized& out) {
  const float factor = unit / out.scale;
  double byte = clamped(static_cast<float>(sum) * factor, out);
  if (act.kind == ActKind::kRelu) byte = std::max<double>(byte, out.zero);
  if (act.kind == ActKind::kClip) byte = std::min(std::max(byte, byte_of(act.a, out)), byte_of(act.b, out));
  return byte;
}

bool only_clamps(const Act& act) {
  return act.kind == ActKind::kNone || act.kind == ActKind::kRelu || act.kind == ActKind::kClip;
}

}  // namespace

void naive_quantize(const Quantized& out, const NaiveTensor& x, double error, NaiveTensor& made) {
  std::transform(x.data.begin(), x.data.end(), made.data.begin(), [&](double v) { return byte_of(v, out); });
  const double off = x.off + (x.exact ? 0. : error);
  made.off = off > 0 ? steps_off(off, out) : 0.;
}

void naive_dequantize(const Quantized& in, const NaiveTensor& x, NaiveTensor& made) {
  std::transform(x.data.begin(), x.data.end(), made.data.begin(), [&](double v) { return real_of(v, in); });
  made.off = x.off * in.scale;
}

void naive_requantize_sums(const Program& program, const Instr& instr, const std::vector<float>& scales,
                           const NaiveTensor& x, double largest, const NaiveTensor* add, NaiveTensor& made) {
  const Quantized& in = program.instrs[instr.args[0]].quantized;
  const bool exact = instr.bytes && add == nullptr && only_clamps(instr.act);
  double off = 0;
  for (int64_t n = 0; n < made.plane.n; ++n) {
    for (int64_t c = 0; c < made.plane.c; ++c) {
      const float unit = in.scale * scales[static_cast<size_t>(c)];
      off = std::max(off, x.off * largest * unit);
      double* const to = made.channel(n, c);
      for (int64_t i = 0; i < made.plane.h * made.plane.w; ++i) {
        if (exact) {
          to[i] = requantized(to[i], unit, instr.act, instr.quantized);
          continue;
        }
        double v = static_cast<double>(static_cast<float>(to[i])) * unit;
        if (add != nullptr) v += real_of(add->channel(n, c)[i], program.instrs[instr.add].quantized);
        v = naive_activation(instr.act, v);
        to[i] = instr.bytes ? byte_of(v, instr.quantized) : v;
      }
    }
  }
  if (add != nullptr) off += add->off * program.instrs[instr.add].quantized.scale;
  off *= naive_slope(instr.act);
  made.off = !instr.bytes ? off : exact && off == 0 ? 0 : steps_off(off, instr.quantized);
}

void naive_add_bytes(const Program& program, const Instr& instr, const std::vector<const NaiveTensor*>& args,
                     NaiveTensor& made) {
  double off = 0;
  for (size_t i = 0; i < made.data.size(); ++i) {
    double v = 0;
    for (size_t a = 0; a < args.size(); ++a) v += real_of(args[a]->data[i], program.instrs[instr.args[a]].quantized);
    made.data[i] = byte_of(naive_activation(instr.act, v), instr.quantized);
  }
  for (size_t a = 0; a < args.size(); ++a) off += args[a]->off * program.instrs[instr.args[a]].quantized.scale;
  made.off = steps_off(off * naive_slope(instr.act), instr.quantized);
}

}  // namespace lth
