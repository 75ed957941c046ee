// bf16 weights: the two input channels of a cell, at one tap, are one record.
#include <algorithm>
#include <cstring>

#include "plan/entries.h"

namespace lth {
namespace {

constexpr int kCellChannels = 2;

// The value is exact in bf16.
uint32_t upper_half(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits >> 16;
}

// The cells with any weight, in order of row, cell and tap.
std::vector<Entry> cell_entries(const Weight& weight, int cells, const Window& k) {
  const size_t taps = static_cast<size_t>(k.kh) * k.kw, per_row = static_cast<size_t>(weight.dims[1]) * taps;
  std::vector<Entry> entries;
  std::vector<uint32_t> row_cells(static_cast<size_t>(cells) * taps);
  for (size_t i = 0; i < weight.position.size();) {
    const size_t row = weight.position[i] / per_row;
    std::fill(row_cells.begin(), row_cells.end(), 0);
    for (; i < weight.position.size() && weight.position[i] / per_row == row; ++i) {
      const size_t in_row = weight.position[i] % per_row, channel = in_row / taps, tap = in_row % taps;
      row_cells[channel / kCellChannels * taps + tap] |= upper_half(weight.value[i]) << 16 * (channel % kCellChannels);
    }
    for (size_t at = 0; at < row_cells.size(); ++at) {
      if (row_cells[at] == 0) continue;
      const int tap = static_cast<int>(at % taps);
      entries.push_back({static_cast<int32_t>(row), static_cast<int32_t>(at / taps), static_cast<int16_t>(tap / k.kw),
                         static_cast<int16_t>(tap % k.kw), {row_cells[at], 0}});
    }
  }
  return entries;
}

}  // namespace

PackedConv pack_bf16(const Weight& weight, const Weight* bias, const Window& window, const Isa& isa) {
  PackedConv conv;
  conv.is_bf16 = true;
  conv.out_channels = static_cast<int>(weight.dims[0]);
  const int cells = (static_cast<int>(weight.dims[1]) + kCellChannels - 1) / kCellChannels;
  std::vector<Entry> entries = cell_entries(weight, cells, window);
  if (isa.dense_bf16 != nullptr) conv.dense = dense_weights(entries, conv.out_channels, cells, window, kDenseBfloats);
  if (conv.dense.form == DenseForm::kNone) pack_entries(conv, std::move(entries), conv.out_channels, cells, 1, window, isa);
  conv.bias = full_bias(bias, conv.out_channels);
  return conv;
}

}  // namespace lth
