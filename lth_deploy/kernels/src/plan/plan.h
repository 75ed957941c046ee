// Everything about one region that depends on the shapes of its inputs: planes, buffers, tiles and line maps.
#pragma once

#include <memory>
#include <vector>

#include "plan/byte_table.h"
#include "plan/geometry.h"
#include "plan/pack.h"
#include "plan/pixel_layer.h"
#include "plan/region.h"
#include "plan/requantize.h"

namespace lth {

// A rectangle of output lines; of a run, `tw` lines from line `x` on.
struct Tile {
  int y = 0, x = 0, th = 1, tw = 1;
};

// Where a tensor lies: planes of `buffer` from `plane` on. Slices and parts of a concat share a buffer.
struct View {
  int buffer = -1;
  int plane = 0;
  int step = 1;  // planes from one of the tensor to the next: 2 where cells of two channels lie over these channels
};

struct Buffer {
  int planes = 0;
  size_t cells = 0;       // of one plane
  size_t offset = 0;      // bytes into the arena
  size_t bytes = 0;
  int first = 0, last = 0;  // instructions between which it is alive
};

struct TensorPlan {
  int n = 0, channels = 0;
  int planes = 0;  // as channels; of a quantized tensor, a quarter
  PlaneShape plane;
  View view;     // without a buffer where only `rounded` is read
  View rounded;  // cells of two channels in bf16, for the layers of bf16 weights that read it; without a buffer where there are none
  bool in_place = false;  // rows of a matrix, which the only convolution that reads them takes from where they lie
};

struct InstrPlan {
  Mapping map;
  LinearMapping linear;  // resize between pixels
  std::vector<Tile> tiles;
  View scratch;     // transposed convolutions: the phases of some images before they are interleaved
  bool rounds = false;  // a layer of bf16 weights, the first that reads its input, which comes without `rounded`
  int images = 0;  // of which the scratch holds phases
  Mapping phases;
};

struct Plan {
  int64_t rows = 0;               // of all matrices
  std::vector<int64_t> row_dims;  // their dimensions before the channels, of which they are the product
  std::vector<TensorPlan> tensors;
  std::vector<bool> empty;  // tensors without an image or a row; their plan is that of one, and nothing computes them
  std::vector<InstrPlan> instrs;
  std::vector<Buffer> buffers;
  std::vector<Shape> outputs;
  size_t arena_bytes = 0;
};

// Of a scale, a batchnorm or a layernorm; of a binmean the factors are its bins.
struct ChannelValues {
  std::vector<float> factor, shift;
};

// The immutable part of a region.
struct Compiled {
  Program program;
  std::vector<PackedConv> convs;  // of convolutions, transposed or not; instructions with the same weights share one
  std::vector<int> conv_of;       // instruction -> index into convs, or -1
  std::vector<Int8Rows> int8_rows;  // of quantized convolutions, for each instruction
  std::vector<ByteTable> tables;  // of functions of one byte, for each instruction; others are empty
  std::vector<ChannelValues> channel_values;  // for each instruction
  std::vector<PixelLayer> pixel_layers;       // for each instruction
  // Loads, space-to-depths of them and dequantizes whose neighbor reads the input, or writes the output, for them.
  std::vector<bool> fused_io;
  std::vector<int> writes_output;  // of each instruction, the output that it writes as pixels: it needs no buffer; -1 for none
  const Isa* isa = nullptr;
};

// Throws Error where the shapes do not fit the program or a tensor is too large.
std::shared_ptr<const Plan> make_plan(const Compiled&, const std::vector<Shape>& inputs);

// Gives every tensor of a plan, whose shapes are known, its place.
void place_tensors(const Compiled&, Plan&);

// The tiles in which a convolution covers its result.
std::vector<Tile> tiles_of(const Compiled&, int instr, const PlaneShape& out, const Window&);

// Prepares how the windows of instruction i read its argument.
void plan_window(const Compiled&, Plan&, int i);

// Entries tap * lines + i of the axes of a window: what line i of the output reads for a tap.
void order_by_taps(Mapping&, const Window&, const PlaneShape& out);

// The tiles that cover a plane at the least estimated cost.
std::vector<Tile> choose_tiles(const PackedConv&, const PlaneShape& out, const Isa&);

}  // namespace lth
