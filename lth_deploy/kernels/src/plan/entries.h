// Non-zero weights on their way into records: what packing float32 and packing int8 share.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/pack.h"

namespace lth {

// One non-zero weight, or the two of a pair of rows.
struct Entry {
  int32_t row, channel;  // channel within its group
  int16_t ky, kx;
  uint32_t value[2];     // bits
};

// Writes entries in order of row, channel and tap into blocks, as pairs of rows where most of them share their places.
// in_channels: of a group. Sets everything but the bias.
void pack_entries(PackedConv& conv, std::vector<Entry> entries, int out_channels, int in_channels, int groups,
                  const Window& window, const Isa& isa);

}  // namespace lth
