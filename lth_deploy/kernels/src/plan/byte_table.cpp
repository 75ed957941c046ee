#include "plan/byte_table.h"

#include <cstring>

#include "plan/requantize.h"

namespace lth {

ByteTable activation_table(const Quantization& from, const Act& act, const Quantization& to, const Isa& isa) {
  constexpr size_t kCells = 64;  // of four bytes: all 256, and whole lines of every instruction set
  constexpr int kInCell = 4;
  alignas(64) uint32_t bytes[kCells], made[kCells];
  alignas(64) float reals[kInCell * kCells];
  ByteTable table(256);
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<uint8_t>(i);
  std::memcpy(bytes, table.data(), sizeof bytes);
  isa.dequantize(bytes, kCells, from, reals, kCells, kInCell);
  isa.add(reals, nullptr, kInCell * kCells, finish_of(act), reals);
  isa.quantize(reals, kCells, kInCell, kCells, to, made);
  std::memcpy(table.data(), made, sizeof made);
  return table;
}

}  // namespace lth
