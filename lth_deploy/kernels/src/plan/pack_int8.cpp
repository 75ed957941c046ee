// int8 weights: the four input channels of a cell, at one tap, are one record.
#include <algorithm>

#include "plan/entries.h"

namespace lth {
namespace {

constexpr int kQuad = 4;

// Groups of channels that whole cells belong to: of those that a program has, or of several neighboring ones.
struct CellGroups {
  int count = 1, together = 1;  // of these; and of the program's in each
  int in = 1, rows = 1;         // channels and outputs of one of the program's
  int cells = 1;                // that one of these reads

  CellGroups(const Weight& weight, int groups) : in(static_cast<int>(weight.dims[1])), rows(static_cast<int>(weight.dims[0]) / groups) {
    const auto whole = [&](int n) { return groups % n == 0 && n * in % kQuad == 0 && n * rows % kQuad == 0; };
    while (together < kQuad && !whole(together)) together *= 2;
    if (!whole(together)) together = groups;
    count = groups / together;
    cells = (together * in + kQuad - 1) / kQuad;
  }

  // Of the channels that one of these reads, the first one that an output reads.
  int first_channel(int row) const { return row / rows % together * in; }
};

// The cells with any weight, in order of row, cell and tap.
std::vector<Entry> cell_entries(const Weight& weight, const CellGroups& groups, const Window& k) {
  const int taps = k.kh * k.kw, in = static_cast<int>(weight.dims[1]), cells = groups.cells;
  const size_t per_row = static_cast<size_t>(in) * taps;
  std::vector<Entry> entries;
  std::vector<uint32_t> int8_rows(static_cast<size_t>(cells) * taps);
  for (size_t i = 0; i < weight.position.size();) {
    const size_t row = weight.position[i] / per_row;
    const auto first = static_cast<size_t>(groups.first_channel(static_cast<int>(row)));
    std::fill(int8_rows.begin(), int8_rows.end(), 0);
    for (; i < weight.position.size() && weight.position[i] / per_row == row; ++i) {
      const size_t in_row = weight.position[i] % per_row, channel = first + in_row / taps, tap = in_row % taps;
      const uint32_t byte = static_cast<uint8_t>(weight.integer[i]);
      int8_rows[channel / kQuad * taps + tap] |= byte << 8 * (channel % kQuad);
    }
    for (size_t q = 0; q < int8_rows.size(); ++q) {
      if (int8_rows[q] == 0) continue;
      const int tap = static_cast<int>(q) % taps;
      entries.push_back({static_cast<int32_t>(row), static_cast<int32_t>(q / taps), static_cast<int16_t>(tap / k.kw),
                         static_cast<int16_t>(tap % k.kw), {int8_rows[q], 0}});
    }
  }
  return entries;
}

}  // namespace

PackedConv pack_int8(const Weight& weight, int groups, const Window& window, const Isa& isa, bool to_pixels) {
  PackedConv conv;
  conv.is_int8 = true;
  if (is_depthwise(weight, groups) && weight.dims[0] == groups) {
    conv.out_channels = groups;
    conv.groups = groups;
    conv.depthwise = depthwise_int8_weights(weight, window);
    return conv;
  }
  const CellGroups whole(weight, groups);
  std::vector<Entry> entries = cell_entries(weight, whole, window);
  if (isa.dense != nullptr && groups == 1) {
    conv.out_channels = static_cast<int>(weight.dims[0]);
    conv.dense = dense_weights(entries, conv.out_channels, whole.cells, window, to_pixels ? kDenseBytesToPixels : kDenseBytes);
    if (conv.dense.form != DenseForm::kNone) return conv;
  }
  pack_entries(conv, std::move(entries), static_cast<int>(weight.dims[0]), whole.cells, whole.count, window, isa);
  return conv;
}

}  // namespace lth
