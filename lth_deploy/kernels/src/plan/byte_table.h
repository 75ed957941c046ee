// Functions from one quantized tensor to another, of which a byte decides each result: tables of all 256.
#pragma once

#include <cstdint>
#include <vector>

#include "isa/isa.h"
#include "program/program.h"

namespace lth {

using ByteTable = std::vector<uint8_t>;  // 256, or none

// What dequantize, the activation and quantize make of every byte, computed by the kernels of the instruction set: the
// table gives their bits.
ByteTable activation_table(const Quantization& from, const Act& act, const Quantization& to, const Isa& isa);

}  // namespace lth
