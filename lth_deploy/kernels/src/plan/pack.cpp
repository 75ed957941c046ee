#include "plan/pack.h"

#include <algorithm>
#include <cstring>

#include "plan/caches.h"
#include "plan/entries.h"
#include "plan/tile_costs.h"

namespace lth {
namespace {

// Lines in a row of a packed tile. Windows of 3x3 leave some of those of 7x7 unused: the same inner loops serve both.
int tile_pitch(const Isa& isa, int family) {
  switch (family) {
    case kTile3: return isa.max_tile_w + 2;
    case kTile3Stride2:
    case kTile7Stride2: return 2 * isa.max_tile_w + 5;
  }
  return 0;
}

constexpr double kFullPairs = 0.9;  // pairs of rows pay where so many of their places are taken

int family_of(const Window& k) {
  const bool square = k.dh == 1 && k.dw == 1 && k.kh == k.kw && k.sh == k.sw;
  if (square && k.kh == 3 && k.sh == 1) return kTile3;
  if (square && k.kh == 3 && k.sh == 2) return kTile3Stride2;
  if (square && k.kh == 7 && k.sh == 2) return kTile7Stride2;
  return kRun;
}

uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

std::vector<Entry> single_entries(const Weight& weight, const Window& k) {
  const uint32_t taps = k.kh * k.kw, per_row = static_cast<uint32_t>(weight.dims[1]) * taps;
  std::vector<Entry> entries(weight.position.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    const uint32_t row = weight.position[i] / per_row, in_row = weight.position[i] % per_row, tap = in_row % taps;
    entries[i] = {static_cast<int32_t>(row), static_cast<int32_t>(in_row / taps), static_cast<int16_t>(tap / k.kw),
                  static_cast<int16_t>(tap % k.kw), {bits_of(weight.value[i]), 0}};
  }
  return entries;
}

bool same_place(const Entry& a, const Entry& b) { return a.channel == b.channel && a.ky == b.ky && a.kx == b.kx; }

bool earlier_place(const Entry& a, const Entry& b) {
  if (a.channel != b.channel) return a.channel < b.channel;
  return a.ky != b.ky ? a.ky < b.ky : a.kx < b.kx;
}

// Entries of rows 2 i and 2 i + 1 merged; `entries` is in order of row, channel and tap.
std::vector<Entry> pair_entries(const std::vector<Entry>& entries) {
  std::vector<Entry> pairs;
  pairs.reserve(entries.size());
  for (size_t i = 0; i < entries.size();) {
    const int32_t pair = entries[i].row / 2;
    size_t one = i;
    while (i < entries.size() && entries[i].row == 2 * pair) ++i;
    size_t two = i;
    const size_t one_end = i;
    while (i < entries.size() && entries[i].row == 2 * pair + 1) ++i;
    while (one < one_end || two < i) {
      const bool from_one = one < one_end && (two == i || !earlier_place(entries[two], entries[one]));
      const bool from_two = two < i && (one == one_end || !earlier_place(entries[one], entries[two]));
      Entry merged = from_one ? entries[one] : entries[two];
      merged.row = pair;
      merged.value[0] = from_one ? entries[one].value[0] : 0;
      merged.value[1] = from_two && (!from_one || same_place(entries[one], entries[two])) ? entries[two].value[0] : 0;
      one += from_one;
      two += from_two && (!from_one || same_place(merged, entries[two]));
      pairs.push_back(merged);
    }
  }
  return pairs;
}

// Where the (channel, tap) of a group went: block and place in it.
struct Places {
  std::vector<int32_t> block, index;
};

class Packer {
 public:
  Packer(PackedConv& conv, int in_channels, const Window& window, const Isa& isa)
      : conv_(conv), isa_(isa), channels_(in_channels), window_(window), line_bytes_(isa.lanes * 4) {
    const Tuning& tuning = tuning_of(conv, isa);
    const double budget = std::max(tuning.l1_share * static_cast<double>(caches().l1),
                                   tuning.l2_share * static_cast<double>(caches().l2));
    int touched = conv_.pairs ? isa.max_run : isa.max_run * 2 / 3;  // lines of a channel or unit that a usual tile reads
    if (conv_.family == kRun) {
      conv_.channel_lines = isa.max_run;
    } else {
      const int stride = window.sh, height = (kMaxTileH - 1) * stride + window.kh;
      conv_.pitch = tile_pitch(isa, conv_.family);
      conv_.channel_lines = conv_.pitch * height;
      const int usual_h = conv_.pairs ? kMaxTileH : std::min(3, std::max(2, isa.max_acc / 4));
      touched = ((usual_h - 1) * stride + window.kh) * ((std::min(isa.max_tile_w, 5) - 1) * stride + window.kw);
    }
    constexpr int kReach = 65535 * kOffsetUnit;
    capacity_ = std::min(static_cast<int>(budget / (touched * line_bytes_)), kReach / (conv_.channel_lines * line_bytes_));
    capacity_ = std::max(capacity_, 1);
  }

  void add_group(const std::vector<Entry>& entries, int row_begin, int row_end, int first_channel) {
    const size_t first_block = conv_.blocks.size();
    const Places places = make_blocks(entries, row_begin, row_end, first_channel);
    const size_t n_blocks = conv_.blocks.size() - first_block;
    const int rows = row_end - row_begin;
    std::vector<std::vector<const Entry*>> by_block(n_blocks);
    for (const Entry& e : entries) by_block[places.block[key(e)]].push_back(&e);
    for (size_t b = 0; b < n_blocks; ++b) {
      write_block(conv_.blocks[first_block + b], by_block[b], places, rows);
    }
  }

 private:
  size_t key(const Entry& e) const {
    return conv_.family == kRun ? (static_cast<size_t>(e.channel) * window_.kh + e.ky) * window_.kw + e.kx : e.channel;
  }

  int number_of_blocks(int used, double records, int rows) const {
    const int least = std::max(1, (used + capacity_ - 1) / capacity_);
    return by_cost(conv_, isa_) ? blocks_by_cost(conv_, isa_, window_, records, rows, used, least) : least;
  }

  Places make_blocks(const std::vector<Entry>& entries, int row_begin, int row_end, int first_channel) {
    const size_t keys = conv_.family == kRun ? static_cast<size_t>(channels_) * window_.kh * window_.kw : channels_;
    Places places{std::vector<int32_t>(keys, -1), std::vector<int32_t>(keys, -1)};
    for (const Entry& e : entries) places.block[key(e)] = 0;
    const int used = static_cast<int>(std::count(places.block.begin(), places.block.end(), 0));
    const int n_blocks = number_of_blocks(used, static_cast<double>(entries.size()), row_end - row_begin);
    const int each = (used + n_blocks - 1) / n_blocks;
    const size_t first_block = conv_.blocks.size();
    for (int b = 0; b < n_blocks; ++b) {
      Block block;
      block.row_begin = row_begin, block.row_end = row_end;
      block.first = b == 0, block.last = b == n_blocks - 1;
      conv_.blocks.push_back(block);
    }
    int seen = 0;
    for (size_t k = 0; k < keys; ++k) {
      if (places.block[k] < 0) continue;
      places.block[k] = seen / each;
      place(conv_.blocks[first_block + seen / each], static_cast<int>(k), first_channel);
      ++seen;
    }
    for (int b = 0; b < n_blocks; ++b) index_block(conv_.blocks[first_block + b], first_channel, places);
    return places;
  }

  void place(Block& block, int k, int first_channel) const {
    const int taps = window_.kh * window_.kw;
    if (conv_.family != kRun || taps == 1) block.channels.push_back(first_channel + k);
    if (conv_.family == kRun) {
      const int tap = k % taps;
      block.taps.push_back({first_channel + k / taps, static_cast<int16_t>(tap / window_.kw * window_.dh),
                             static_cast<int16_t>(tap % window_.kw * window_.dw)});
    }
  }

  // Units go tap by tap, so that where a tap reads is worked out once for all channels.
  void index_block(Block& block, int first_channel, Places& places) const {
    std::stable_sort(block.taps.begin(), block.taps.end(), [](const ChannelTap& a, const ChannelTap& b) {
      return a.ky != b.ky ? a.ky < b.ky : a.kx < b.kx;
    });
    for (size_t i = 0; i < block.taps.size(); ++i) {
      const ChannelTap& u = block.taps[i];
      const size_t k = (static_cast<size_t>(u.channel - first_channel) * window_.kh + u.ky / window_.dh) * window_.kw +
                       u.kx / window_.dw;
      places.index[k] = static_cast<int32_t>(i);
    }
    for (size_t i = 0; i < block.channels.size(); ++i) {
      places.index[block.channels[i] - first_channel] = static_cast<int32_t>(i);
    }
  }

  void write_block(Block& block, const std::vector<const Entry*>& entries, const Places& places, int rows) {
    block.first_count = conv_.count.size();
    conv_.count.resize(conv_.count.size() + rows, 0);
    uint16_t* const count = conv_.count.data() + block.first_count;
    size_t next = 0;
    for (int r = 0; r < rows; ++r) {
      if (r % kStartEvery == 0) block.start.push_back(static_cast<uint32_t>(conv_.offset.size()));
      for (; next < entries.size() && entries[next]->row == block.row_begin + r; ++next, ++count[r]) {
        write_record(*entries[next], places);
      }
    }
  }

  void write_record(const Entry& e, const Places& places) {
    const int index = places.index[key(e)];
    const int line = conv_.family == kRun ? index * conv_.channel_lines
                                          : index * conv_.channel_lines + e.ky * conv_.pitch + e.kx;
    conv_.offset.push_back(static_cast<uint16_t>(line * line_bytes_ / kOffsetUnit));
    conv_.value.push_back(e.value[0]);
    if (conv_.pairs) conv_.value.push_back(e.value[1]);
  }

  PackedConv& conv_;
  const Isa& isa_;
  int channels_;
  Window window_;
  int line_bytes_;
  int capacity_ = 1;  // channels or units in a block, at most
};

void add_groups(PackedConv& conv, Packer& packer, const std::vector<Entry>& entries, int in_channels) {
  const int rows = conv.rows() / conv.groups;
  auto from = entries.begin();
  for (int g = 0; g < conv.groups; ++g) {
    const auto to = std::find_if(from, entries.end(), [&](const Entry& e) { return e.row >= (g + 1) * rows; });
    packer.add_group({from, conv.groups == 1 ? entries.end() : to}, g * rows, g + 1 == conv.groups ? conv.rows() : (g + 1) * rows,
                     g * in_channels);
    from = to;
  }
}

}  // namespace

std::vector<uint32_t> full_bias(const Weight* bias, int channels) {
  std::vector<uint32_t> full(channels + 1, 0);
  if (bias != nullptr) {
    for (size_t i = 0; i < bias->position.size(); ++i) full[bias->position[i]] = bits_of(bias->value[i]);
  }
  return full;
}

const Tuning& tuning_of(const PackedConv& conv, const Isa& isa) {
  if (conv.is_int8) return conv.pairs ? isa.int8->pair_tuning : isa.int8->single_tuning;
  if (conv.is_bf16) return conv.pairs ? isa.bf16->pair_tuning : isa.bf16->single_tuning;
  return conv.pairs ? isa.pair_tuning : isa.single_tuning;
}

size_t PackedConv::bytes() const {
  size_t total = depthwise.value.size() * 4 + dense.bytes() + count.size() * 2 + offset.size() * 2 + value.size() * 4 + bias.size() * 4;
  for (const Block& b : blocks) {
    total += sizeof(Block) + b.channels.size() * 4 + b.taps.size() * sizeof(ChannelTap) + b.start.size() * 4;
  }
  return total;
}

void pack_entries(PackedConv& conv, std::vector<Entry> entries, int out_channels, int in_channels, int groups,
                  const Window& window, const Isa& isa) {
  conv.family = family_of(window);
  conv.out_channels = out_channels;
  conv.groups = groups;
  if (conv.out_channels / groups % 2 == 0 || groups == 1) {
    std::vector<Entry> pairs = pair_entries(entries);
    if (static_cast<double>(entries.size()) >= kFullPairs * 2.0 * static_cast<double>(pairs.size()) && !pairs.empty()) {
      entries.swap(pairs);
      conv.pairs = true;
    }
  }
  Packer packer(conv, in_channels, window, isa);
  conv.offset.reserve(entries.size());
  conv.value.reserve(entries.size() * (conv.pairs ? 2 : 1));
  add_groups(conv, packer, entries, in_channels);
  for (const Block& b : conv.blocks) {
    conv.tile_lines = std::max(conv.tile_lines,
                               static_cast<int>(std::max(b.channels.size(), b.taps.size())) * conv.channel_lines);
  }
  conv.records_a_row = static_cast<double>(conv.offset.size()) / static_cast<double>(std::max<size_t>(1, conv.count.size()));
}

PackedConv pack_conv(const Weight& weight, const Weight* bias, int groups, const Window& window, const Isa& isa) {
  PackedConv conv;
  if (is_depthwise(weight, groups)) {
    conv.out_channels = static_cast<int>(weight.dims[0]);
    conv.groups = groups;
    conv.depthwise = depthwise_weights(weight, groups);
  } else {
    pack_entries(conv, single_entries(weight, window), static_cast<int>(weight.dims[0]), static_cast<int>(weight.dims[1]),
                 groups, window, isa);
  }
  conv.bias = full_bias(bias, conv.out_channels);
  return conv;
}

}  // namespace lth
