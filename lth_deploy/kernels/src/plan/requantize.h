// From sums of integers to bytes: what scales, zero points and activations make of them.
#pragma once

#include <cstdint>
#include <vector>

#include "isa/isa.h"
#include "program/program.h"
#include "program/weights.h"

namespace lth {

// Activations as the kernels apply them to floats.
Finish finish_of(const Act& act);

// What the rows of a convolution of bytes need beside their records. Instructions that share records may differ in it.
struct QuadRows {
  std::vector<uint32_t> bias;     // what each sum starts with
  std::vector<float> multiplier;  // of each sum, and zeros up to a quad
  Requantize requantize;          // but for the multiplier's address

  size_t bytes() const { return 4 * (bias.size() + multiplier.size()); }
};

// weight, bias, scales: of each row that is computed; the bias may be null.
QuadRows quad_rows(const Program& program, const Instr& instr, const Weight& weight, const Weight* bias,
                   const Weight& scales, const Isa& isa);

// Of a kQAdd or kRequantize.
Requantize requantize_of(const Program& program, const Instr& instr);

}  // namespace lth
