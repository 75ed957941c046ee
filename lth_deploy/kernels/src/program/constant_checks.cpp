#include "program/constant_checks.h"

#include <cstdlib>
#include <string>

namespace lth {
namespace {

constexpr float kLeastScale = 1e-30f, kLargestScale = 1e12f;
constexpr int64_t kMaxSum = 2147483647;
constexpr int64_t kMaxByte = 255;

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
void check_sums(int number, const Weight& weight, size_t axis, const Weight* bias) {
  const int64_t channels = weight.dims[axis];
  std::vector<int64_t> sums(static_cast<size_t>(channels));
  int64_t a_channel = 1;
  for (size_t i = axis + 1; i < weight.dims.size(); ++i) a_channel *= weight.dims[i];
  for (size_t i = 0; i < weight.position.size(); ++i) {
    sums[weight.position[i] / a_channel % channels] += kMaxByte * std::abs(weight.integer[i]);
  }
  for (size_t i = 0; bias != nullptr && i < bias->position.size(); ++i) {
    sums[bias->position[i]] += std::abs(int64_t{bias->integer[i]});
  }
  for (size_t i = 0; i < sums.size(); ++i) {
    if (sums[i] > kMaxSum) {
      refuse(number, "sums of output channel " + std::to_string(i) + " may leave 32 bits: up to " + std::to_string(sums[i]));
    }
  }
}

}  // namespace

void check_constants(const Program& program, const std::vector<Weight>& weights) {
  for (const Instr& instr : program.instrs) {
    if (!sums_bytes(instr.op)) continue;
    check_scales(instr.scales, weights[instr.scales]);
    const Weight* const bias = instr.bias < 0 ? nullptr : &weights[instr.bias];
    check_sums(instr.weight, weights[instr.weight], is_transposed(instr.op) ? 1 : 0, bias);
  }
}

}  // namespace lth
