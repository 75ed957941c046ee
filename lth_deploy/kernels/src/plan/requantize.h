// From int32 accumulators to uint8: what scales, zero points and activations make of them.
#pragma once

#include <cstdint>
#include <vector>

#include "isa/isa.h"
#include "program/program.h"
#include "program/weights.h"

namespace lth {

// Activations as the kernels apply them to float32.
Finish finish_of(const Act& act);

// What the rows of a quantized convolution need beside their records. Instructions that share records may differ in it.
struct Int8Rows {
  std::vector<uint32_t> bias;     // what each accumulator starts with
  std::vector<float> multiplier;  // of each accumulator, and zeros up to a whole cell
  Requantize requantize;          // but for the multiplier's address

  size_t bytes() const { return 4 * (bias.size() + multiplier.size()); }
};

// weight, bias, scales: of each row that is computed; the bias may be null.
Int8Rows int8_rows(const Program& program, const Instr& instr, const Weight& weight, const Weight* bias,
                   const Weight& scales, const Isa& isa);

// Of a qadd.
Requantize requantize_of(const Program& program, const Instr& instr);

// Of a qresidual.
Requantize residual_of(const Program& program, const Instr& instr);

// Of a qmultiply.
Requantize product_of(const Program& program, const Instr& instr);

// Of a function of the activation of one argument: qgate, qglobalaveragepool.
Requantize activated_of(const Program& program, const Instr& instr);

}  // namespace lth
