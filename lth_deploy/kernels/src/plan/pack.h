// Weights in the form that the kernels read: blocks of inputs whose packed tile fits the L1 cache; in each block, for
// each output row, records of a 16-bit offset into that tile and one value (or two: a pair of rows). A value is the bits
// of a float32, or four int8 or two bf16 for the channels of a cell.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "isa/isa.h"
#include "plan/pack_dense.h"
#include "plan/pack_depthwise.h"
#include "program/program.h"
#include "program/weights.h"

namespace lth {

constexpr int kStartEvery = 16;  // rows between two entries of Block::start

struct Block {
  int row_begin = 0, row_end = 0;  // output rows of its group; pairs of rows where they share records
  bool first = false, last = false;  // of its group
  std::vector<int32_t> channels;   // tiles and 1x1 runs: the input channels with any weight
  std::vector<ChannelTap> taps;          // runs: the (channel, tap) with any weight
  size_t first_count = 0;          // into PackedConv::count
  std::vector<uint32_t> start;     // record of row row_begin + 16 i; into PackedConv::offset
};

struct PackedConv {
  int family = kRun;
  bool pairs = false;
  bool is_int8 = false;    // weights of four int8,
  bool is_bf16 = false;    // or of two bf16; else float32
  int out_channels = 0;
  int groups = 1;
  int pitch = 0;          // lines in a row of the packed tile
  int channel_lines = 0;  // lines of a channel (tiles) or of a tap (runs) of the packed tile
  int tile_lines = 0;     // of the largest packed tile
  double records_a_row = 0;  // mean over rows and blocks
  std::vector<Block> blocks;
  std::vector<uint16_t> count, offset;
  std::vector<uint32_t> value;  // bits of a float32, or four int8, or two bf16
  std::vector<uint32_t> bias;   // bits of float32; of int8 see Int8Rows
  DenseWeights dense;           // of int8 and bf16: instead of all records
  DepthwiseWeights depthwise;   // instead of all records

  int rows() const { return pairs ? (out_channels + 1) / 2 : out_channels; }
  size_t bytes() const;
};

// What suits the inner loop of these weights.
const Tuning& tuning_of(const PackedConv&, const Isa&);

// weight: [OC, IC / groups, kh, kw] or [OC, IC]. bias: [OC], or null for zeros.
PackedConv pack_conv(const Weight& weight, const Weight* bias, int groups, const Window& window, const Isa& isa);

// As pack_conv, for weights of s8, filled up to cells of four channels. to_pixels: matrix tiles would write its results as
// pixels, which saves the pass that makes pixels of lines.
PackedConv pack_int8(const Weight& weight, int groups, const Window& window, const Isa& isa, bool to_pixels);

// As pack_conv, for weights of bf16, filled up to cells of two channels.
PackedConv pack_bf16(const Weight& weight, const Weight* bias, const Window& window, const Isa& isa);

// Bits of the bias of each row, and one more.
std::vector<uint32_t> full_bias(const Weight* bias, int channels);

}  // namespace lth
