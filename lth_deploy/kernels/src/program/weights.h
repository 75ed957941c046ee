// A constant of a region, decoded: what is stored, not what it weighs in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "program/program.h"

namespace lth {

// The non-zero elements in ascending order of their flat row-major position.
struct Weight {
  std::vector<int64_t> dims;
  std::vector<uint32_t> position;
  std::vector<float> value;      // of f32 and f16: as many as positions, finite
  std::vector<int32_t> integer;  // of s8 and s32: as many as positions
};

struct Bytes {
  const void* data = nullptr;
  size_t size = 0;  // bytes
};

// Decodes one constant after checking every rule of export/FORMAT.md. `positions` is empty for dense weights.
// Throws Error: wrong sizes, positions out of range, non-finite or (where forbidden) zero values, -128.
Weight decode_weight(const WeightDecl& decl, Bytes positions, Bytes values);

// [inputs, outputs] as [outputs, inputs].
Weight outputs_first(const Weight& weight);

}  // namespace lth
