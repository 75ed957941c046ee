#include "plan/transposed_phases.h"

#include <algorithm>
#include <utility>

#include "ops/op.h"

namespace lth {
namespace {

// The elements of [IC, OC, kh, kw] in the order of the rows. Positions stay below 2^32: 2^29 weights, and whole cells.
template <class T>
void by_rows(const Weight& weight, int64_t a_phase, const std::vector<T>& values, Weight& phases, std::vector<T>& ordered) {
  const int64_t in = weight.dims[0], out = weight.dims[1], taps = weight.dims[2] * weight.dims[3];
  std::vector<std::pair<uint32_t, T>> entries(values.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    const int64_t p = weight.position[i], tap = p % taps, oc = p / taps % out, ic = p / (taps * out);
    entries[i] = {static_cast<uint32_t>((tap * a_phase + oc) * in + ic), values[i]};
  }
  std::sort(entries.begin(), entries.end());
  phases.position.reserve(entries.size());
  ordered.reserve(entries.size());
  for (const auto& [position, value] : entries) {
    phases.position.push_back(position);
    ordered.push_back(value);
  }
}

// One value an output channel, for the rows of every phase.
Weight repeated(const Weight& channels, int64_t taps, int64_t a_phase) {
  Weight rows;
  rows.dims = {taps * a_phase};
  for (int64_t tap = 0; tap < taps; ++tap) {
    for (uint32_t channel : channels.position) rows.position.push_back(static_cast<uint32_t>(tap * a_phase + channel));
    rows.value.insert(rows.value.end(), channels.value.begin(), channels.value.end());
    rows.integer.insert(rows.integer.end(), channels.integer.begin(), channels.integer.end());
  }
  return rows;
}

}  // namespace

Phases phases_of(const Instr& instr, const std::vector<Weight>& weights) {
  const Weight& weight = weights[instr.weight];
  const int64_t taps = int64_t{instr.window.kh} * instr.window.kw;
  const int64_t a_phase = def_of(instr).int8_weights ? (instr.channels + 3) / 4 * 4 : instr.channels;
  Phases phases;
  phases.weight.dims = {taps * a_phase, weight.dims[0], 1, 1};
  if (def_of(instr).int8_weights) {
    by_rows(weight, a_phase, weight.integer, phases.weight, phases.weight.integer);
    phases.scales = repeated(weights[instr.scales], taps, a_phase);
  } else {
    by_rows(weight, a_phase, weight.value, phases.weight, phases.weight.value);
  }
  if (instr.bias >= 0) phases.bias = repeated(weights[instr.bias], taps, a_phase);
  return phases;
}

}  // namespace lth
