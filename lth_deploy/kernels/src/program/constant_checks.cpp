#include "program/constant_checks.h"

#include <cstdlib>
#include <string>

#include "ops/op.h"

namespace lth {
namespace {

constexpr float kLeastScale = 1e-30f, kLargestScale = 1e12f;
constexpr int64_t kMaxAccumulator = 2147483647;
constexpr int64_t kMaxActivation = 255;

[[noreturn]] void refuse(int weight, const std::string& what) { throw Error("weight " + std::to_string(weight) + ": " + what); }

void check_scales(int number, const Weight& scales) {
  if (scales.value.size() != static_cast<size_t>(scales.dims[0])) refuse(number, "a scale is zero");
  for (size_t i = 0; i < scales.value.size(); ++i) {
    const float scale = scales.value[i];
    if (scale < kLeastScale || scale > kLargestScale) {
      refuse(number, "scale " + std::to_string(i) + " is " + std::to_string(scale) + ", allowed are 1e-30 to 1e12");
    }
  }
}

// axis: the dimension of the weight that counts output channels.
void check_accumulators(int number, const Weight& weight, size_t axis, const Weight* bias) {
  const int64_t channels = weight.dims[axis];
  std::vector<int64_t> most(static_cast<size_t>(channels));
  int64_t a_channel = 1;
  for (size_t i = axis + 1; i < weight.dims.size(); ++i) a_channel *= weight.dims[i];
  for (size_t i = 0; i < weight.position.size(); ++i) {
    most[weight.position[i] / a_channel % channels] += kMaxActivation * std::abs(weight.integer[i]);
  }
  for (size_t i = 0; bias != nullptr && i < bias->position.size(); ++i) {
    most[bias->position[i]] += std::abs(int64_t{bias->integer[i]});
  }
  for (size_t i = 0; i < most.size(); ++i) {
    if (most[i] > kMaxAccumulator) {
      refuse(number, "accumulators of output channel " + std::to_string(i) + " may leave 32 bits: up to " + std::to_string(most[i]));
    }
  }
}

}  // namespace

void check_constants(const Program& program, const std::vector<Weight>& weights) {
  for (const Instr& instr : program.instrs) {
    if (!def_of(instr).int8_weights) continue;
    check_scales(instr.scales, weights[instr.scales]);
    const Weight* const bias = instr.bias < 0 ? nullptr : &weights[instr.bias];
    check_accumulators(instr.weight, weights[instr.weight], def_of(instr).inputs_first ? 1 : 0, bias);
  }
}

}  // namespace lth
