// What one instruction set provides. Plain structs and function pointers only: the files of isa/ are compiled with
// instructions that this machine may lack, so nothing inline of theirs may ever be merged with other code by the linker.
//
// A cell is 32 bit: one float32, or the uint8 of four consecutive channels. A line is one vector of `lanes` cells. Lane
// (ly, lx) = ly * 4 + lx of the line (y, x) of a plane is its pixel (ly * h + y, lx * w + x): see plan/geometry.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "isa/activations.h"
#include "program/quantization.h"

namespace lth {

constexpr int kGridX = 4;  // columns of the lane grid on every instruction set: transposes are always 4 x 4
constexpr int kMaxTileH = 5;
constexpr int kOffsetUnit = 8;  // bytes: a 16-bit offset reaches half a megabyte, and addressing modes multiply by 8

struct PlaneShape {
  int H = 0, W = 0;  // pixels
  int h = 0, w = 0;  // lines
};

// Where the pixels of a plane lie in a tensor of float32: one after the other, or a step apart in both directions.
struct Pixels {
  const float* first = nullptr;
  size_t row = 0;     // floats from one row to the next
  size_t column = 1;  // floats from one column to the next
};

// One row or one column of the lines that a window reads, seen from the output's lanes.
struct Axis {
  int32_t source = 0;                  // row or column inside a lane of the source
  int32_t shift = 0;                   // which neighboring lane it comes from: 0, -1, +1, ...
  int32_t plain = 1;                   // no shift, and no lane is outside of the image
  int32_t offset[4] = {0, 0, 0, 0};    // where lanes do not agree: element offset for each row or column of the grid
  int32_t inside[4] = {-1, -1, -1, -1};  // all bits set where the pixel exists, for each row or column of the grid
};

// How an output plane reads a source plane: rows[i], columns[j] for each line position that a window can touch.
struct LineMap {
  const Axis* rows = nullptr;
  const Axis* columns = nullptr;
  int source_w = 0;             // lines in a row of the source
  bool aligned = true;          // lanes agree; else every cell is gathered by its offset
};

// A row or column that lies between two of the source.
struct Between {
  int32_t first = 0, second = 0;
  float first_weight = 1.f, second_weight = 0.f;
};

// Columns for which a loop knows the weights: at (i + 1/2) / 2 - 1/2, and at 2 * i + 1/2.
enum class Step { kAny, kDoubled, kHalved };

// Where each row and column of an output plane lies between those of the source.
struct LinearMap {
  const Between* rows = nullptr;
  const Between* columns = nullptr;
  Step step = Step::kAny;
};

// The lines that the next packed tile will be copied from: they are prefetched while the tile before it is multiplied.
struct PrefetchRange {
  const uint32_t* source = nullptr;  // channel 0 of the image
  size_t channel_cells = 0;
  const int32_t* channels = nullptr;
  int n_channels = 0;
  int first = 0;              // line of each channel
  int n_rows = 0, pitch = 0;  // rows of lines, and lines from one to the next
  int length = 0;             // lines of a row
};

// Copies the footprint of one tile for some channels into the packed tile.
struct PackTile {
  const uint32_t* source = nullptr;  // channel 0 of the image
  size_t channel_cells = 0;          // cells from one channel of the source to the next
  const int32_t* channels = nullptr;
  int n_channels = 0;
  PrefetchRange next;  // what the following block copies
  LineMap map;
  int row0 = 0, n_rows = 0;  // into map.rows
  int col0 = 0, n_cols = 0;
  int pitch = 0;             // lines from one row of the packed tile to the next
  int channel_lines = 0;     // lines from one channel of the packed tile to the next
  uint32_t fill = 0;         // the cell outside of the image
  uint32_t* tile = nullptr;
  uint32_t* rows = nullptr;  // where lanes do not agree: memory for a row of source lines of each channel; null for none
};

// One (channel, tap) of a block that is packed tap by tap.
struct ChannelTap {
  int32_t channel = 0;
  int16_t ky = 0, kx = 0;  // tap * dilation: added to the position of the window
};

// Copies, for each tap, the lines that `count` consecutive output lines read.
struct PackRun {
  const uint32_t* source = nullptr;
  size_t channel_cells = 0;
  const ChannelTap* taps = nullptr;
  int n_taps = 0;
  LineMap map;
  bool contiguous = false;  // 1x1 with stride 1: line v of the source is line v of the output
  int first = 0, count = 0;  // output lines
  int out_w = 0;             // lines in a row of the output
  int sh = 1, sw = 1;
  int run_lines = 0;         // lines from one tap of the packed tile to the next
  uint32_t fill = 0;
  uint32_t* tile = nullptr;
};

// How int32 accumulators, or uint8 tensors, become uint8: plus a residual, times their scales; activation; rounding.
struct Requantize {
  const float* multiplier = nullptr;  // for each row of a convolution, and for three more
  float scale = 0.f;        // of the first argument where there are no rows
  float add_scale = 0.f;    // of the residual
  float offset = 0.f;       // what the zero points add
  float add_zero = 0.f;     // zero point of the residual, where an activation is applied to the residual alone
  float to_steps = 1.f;     // behind activations that need the real value
  bool to_floats = false;   // the activation of the real value, not rounded
  Finish finish;            // but kClamp, which becomes the bounds low and high
  int32_t zero_point = 0, low = 0, high = 255;
};

// Results that are written as pixels instead of lines: float32 of an output of the node.
struct PixelRows {
  float* first = nullptr;  // pixel (0, 0) of the first row's channel; null for lines
  PlaneShape plane;
  int y = 0, x = 0;        // the tile's line (0, 0)
};

// Accumulates one block of inputs into the tile of a range of output rows (channels). Weights and accumulators are
// float32; or four int8, and int32.
struct Rows {
  const void* tile = nullptr;
  const uint16_t* offset = nullptr;  // into the packed tile, in units of kOffsetUnit, one for each record
  const uint32_t* value = nullptr;   // weights, one for each record, or two where two rows share their records
  const uint16_t* count = nullptr;   // records of each row, or of each pair of rows
  int rows = 0;                      // rows; pairs where two rows share their records
  int th = 0, tw = 0;                // lines of the tile
  float* scratch = nullptr;          // accumulators between blocks: [row][th][tw] lines
  const uint32_t* bias = nullptr;    // for each row
  float* out = nullptr;              // line (0, 0) of the tile in the first row's channel
  size_t out_channel = 0;            // cells from one channel to the next
  int out_pitch = 0;                 // lines from one row of the plane to the next
  int out_row = 0;                   // matrix tiles: the row that `out` belongs to
  PixelRows pixels;                  // matrix tiles: where float32 results go instead
  const float* add = nullptr;        // the residual, laid out as out; may be null
  size_t add_channel = 0;
  uint32_t* rounded = nullptr;       // matrix tiles of bf16: `out` as cells of two rows, or null; `out` then may be null
  size_t rounded_channel = 0;
  bool first = false;                // accumulators start from the bias instead of from `scratch`
  bool last = false;                 // accumulators are finished and written to `out`
  bool odd = false;                  // the last pair has one row only
  PrefetchRange prefetch;            // what the next tile is made of
  Finish finish;
  const Requantize* requantize = nullptr;  // int8: `out` and `add` then are cells of four rows
  float* four_rows = nullptr;               // int8: the accumulators of four rows
  int channels = 0;                        // int8, and matrix tiles: rows that exist
};

using RowsFn = void (*)(const Rows&);

// One plane of a depthwise convolution: a channel of float32, or a cell of four uint8.
struct DepthwisePlane {
  const uint32_t* source = nullptr;  // the line that the first tap of output line (0, 0) reads: in a packed tile, or in place
  int pitch = 0;                     // lines from one row of the source to the next
  int kh = 1, kw = 1, sh = 1, sw = 1, dh = 1, dw = 1;
  const uint32_t* weight = nullptr;  // kh x kw float32; of a cell as DepthwiseWeights has them
  const uint32_t* bias = nullptr;    // of the channel; of the four channels
  int th = 0, tw = 0;                // lines of the output
  float* out = nullptr;              // its line (0, 0)
  const float* add = nullptr;        // the residual, laid out as out; may be null
  int out_pitch = 0;                 // lines from one row of the output to the next
  Finish finish;
  const Requantize* requantize = nullptr;  // of cells
  size_t out_channel = 0;                  // of cells that become float32: cells from one channel to the next
  int channels = 0;                        // ... and channels that exist
  int rows_together = 1;                   // of cells: output rows that share transposed columns
  uint32_t* columns = nullptr;             // of cells: memory for a row of transposed columns
};

constexpr int kDepthwiseReach = 8;  // rows that two windows of DepthwiseRows, one below the other, read at most

// Planes of a depthwise convolution of float32 whose lanes agree, with windows 3 wide, stride 1 and no dilation.
struct DepthwiseRows {
  const uint32_t* source = nullptr;  // the first plane
  size_t source_channel = 0;         // cells from one plane to the next
  int planes = 0;
  LineMap map;
  int kh = 1;                        // rows of a window
  int multiplier = 1;                // outputs of each plane
  const uint32_t* weight = nullptr;  // kh x 3 of each output
  const uint32_t* bias = nullptr;    // of each output
  int first = 0, end = 0, out_w = 0; // rows of the output, and lines in each
  float* out = nullptr;              // line (0, 0) of the first output
  size_t out_channel = 0;
  const float* add = nullptr;        // the residual; may be null
  size_t add_channel = 0;
  Finish finish;
  uint32_t* ring = nullptr;          // memory for kDepthwiseReach rows of what windows read
};

// Planes of some channels, as many as there are lanes at most, and the same as lines whose lanes are the channels, one for
// each pixel.
struct TurnedPlanes {
  uint32_t* planes = nullptr;  // of the first channel
  size_t channel_cells = 0;    // cells from one channel to the next
  int channels = 0;
  PlaneShape plane;
  uint32_t* pixels = nullptr;  // pixel (0, 0)
  int pitch = 0;               // lines from one row of pixels to the next
  int rows = 0, columns = 0;   // of pixels that exist or are wanted
};

// One plane of a pool: a channel of float32, or a cell of four uint8.
struct PoolPlane {
  const uint32_t* source = nullptr;  // the line that the first tap of output line (0, 0) reads: in a packed tile, or in place
  int pitch = 0;                     // lines from one row of the source to the next
  int kh = 1, kw = 1, sh = 1, sw = 1, dh = 1, dw = 1;
  int th = 0, tw = 0;                // lines of the output
  uint32_t* out = nullptr;           // its line (0, 0)
  int out_pitch = 0;                 // lines from one row of the output to the next
  uint32_t* maxima = nullptr;        // memory for the lines of a row that windows read
};

enum Family { kTile3 = 0, kTile3Stride2 = 1, kTile7Stride2 = 2, kRun = 3 };

// How long the work besides the multiply-adds takes, in multiply-adds of one line; fitted to measurements of the kernels.
struct Costs {
  double record;   // load and broadcast a weight, load its offset, loop
  double row;      // start and end of a row
  double traffic;  // load and store one line of accumulators between blocks,
  double crowded;  // and this much more for each line of the tile: stores wait for each other
  double pack;     // copy one line into the packed tile
  double miss;     // load a line that the L1 cache lost
};

// What suits the form of single rows, or that of pairs.
struct Tuning {
  double l1_share, l2_share;  // of the L1 and of the L2 cache that a packed tile may take; the larger counts
  Costs costs;
  // The constants are those of a processor that starts one multiply-add in a cycle. On others, blocks of inputs are
  // chosen by their cost (plan/tile_costs.h), where that is less than a tile of those shares; with 8 lanes, whose
  // constants are of a processor that starts two, this was slower.
  bool blocks_by_cost = false;
};

// Convolutions of int8 weights; other operators on quantized tensors differ less from one processor to the next.
struct Int8Kernels {
  const char* name;
  RowsFn (*single)(int family, int th, int tw);  // as those of Isa
  RowsFn (*pair)(int family, int tw);
  Tuning single_tuning, pair_tuning;
  void (*depthwise)(const DepthwisePlane&);
  int byte_shift;  // subtracted from every activation: 128 where the instructions take signed bytes only
};

// Convolutions of bf16 weights. A cell is two channels: the lower 16 bits are the even one. Sums are float32: of each cell first the
// product of the odd channel is added, then that of the even one, each rounded; products are exact. So all instruction sets give
// the same bits, but for values below 2^-126, which some flush to zero, and for matrix tiles, which sum in another order.
struct Bf16Kernels {
  RowsFn (*single)(int family, int th, int tw);  // as those of Isa
  RowsFn (*pair)(int family, int tw);
  Tuning single_tuning, pair_tuning;
  // Cells of two channels, rounded to the nearest, halves to even; odd may be null for zeros.
  void (*join)(const float* even, const float* odd, size_t cells, uint32_t* out);
};

// 16 cells: a row of a matrix tile, and a line where there are 16 lanes.
struct alignas(64) MatrixRow {
  uint32_t cell[16];
};

constexpr int kMatrixRows = 16;  // of a matrix tile
constexpr int kMatrixLines = 4;  // output lines that a block of accumulators has at most

// Copies what a tile of output lines reads, so that all cells at one position lie together: [y][column][ky][cell].
struct PackDense {
  const uint32_t* source = nullptr;  // cell 0 of the image
  size_t channel_cells = 0;          // cells from one plane of the source to the next
  int n_cells = 0;                   // planes that are read
  LineMap map;
  bool contiguous = false;           // 1x1 with stride 1: line `first + column` of the source
  int first = 0;
  int row0 = 0, row_step = 1, n_y = 0, n_ky = 1;  // row y * row_step + ky of the window, from map.rows + row0 on
  int col0 = 0, columns = 0;                      // columns of the packed tile, from map.columns + col0 on
  int kw = 1, sw = 1;                             // where kw < sw, columns between the windows are left out
  size_t row_lines = 0, column_lines = 0;         // lines from one y, and from one column, of the packed tile to the next
  uint32_t fill = 0;                              // the cell outside of the image
  uint32_t* tile = nullptr;
};

// All inputs times a range of output rows, for a tile of output lines, by instructions on matrices: blocks of 16 rows
// by up to kMatrixLines lines.
struct DenseRows {
  const void* source = nullptr;       // what output line (0, 0) of the tile reads first
  size_t y = 0, x = 0;                // bytes from what a line reads to what the line below, or to the right, reads
  size_t column = 0;                  // bytes from one column of a window to the next
  size_t cell = 0;                    // bytes from one cell to the next
  int outer = 1, inner = 1;           // steps over the window's rows, and over 16 cells each
  size_t outer_step = 0, inner_step = 0;  // bytes
  int columns = 1;                    // of a window, that share what they read: 3, or 1
  int stride = 1;                     // between windows, in columns
  const MatrixRow* weights = nullptr; // of the first group of 16 rows: [outer][inner][columns] matrix tiles
  size_t group_rows = 0;              // matrix rows from one group of rows to the next
  int groups = 0;
  bool lines_first = false;           // all groups of rows for a few lines, else all lines for a group
  MatrixRow* scratch = nullptr;       // matrix tiles: groups + kMatrixLines, and 2 * kMatrixLines more where lines are gathered
  MatrixRow* finished = nullptr;      // where results become pixels: a row of the tile, of each row of `shared` groups
  Rows rows;                          // bias, results and how they are finished
  // Where lines are gathered, instead of outer, inner and columns; weights then are [tile][shared] matrix tiles:
  const size_t* offset = nullptr;     // bytes from what an output line reads first to its line at a place, 16 for each tile
  const int32_t* first_tile = nullptr;  // of the places of each `shared` groups of 16 rows, and the end
  int shared = 1;                     // groups of 16 rows that have the same places: 1, or 2
};

constexpr int kPixelLines = 4;  // lines of output channels that a block of a PixelLayer has: see plan/pixel_layer.h

// The dense form of convolutions of int8 or bf16 weights.
struct DenseKernels {
  const char* name;
  void (*pack)(const PackDense&);
  void (*rows)(const DenseRows&);
  void (*gathered_rows)(const DenseRows&);  // of places at which there are weights, alone
};

// Consecutive bytes of cells that become consecutive bytes of others: from byte `from` on to byte `to` on.
struct BytePiece {
  const uint32_t* source = nullptr;
  int from = 0, to = 0, count = 0;
};

// Some lines of all channels, normalized over the channels: those of x lie channel_cells apart.
struct Normalize {
  const float* x = nullptr;
  size_t channel_cells = 0;
  int channels = 0, lines = 0;
  const float* factor = nullptr;  // of each channel; null for 1
  const float* shift = nullptr;   // of each channel; null for 0
  float epsilon = 0.f;
  Finish finish;
  float* out = nullptr;           // may be x
  size_t out_channel_cells = 0;
};

// Some lines of the channels of one group, channel_cells apart: the sum of their softmax times `values`, one of each.
struct BinMeans {
  const float* x = nullptr;
  size_t channel_cells = 0;
  int bins = 0, lines = 0;
  const float* values = nullptr;
  float* out = nullptr;
};

struct Isa {
  const char* name;
  int lanes;
  int max_acc;      // accumulators of the kernels: tiles of single rows have at most so many lines
  int max_tile_w;   // widest tile; fixes the pitch of packed tiles
  int max_run;      // longest run
  int pair_acc;     // accumulators for each row where two rows share their records
  // Kernels for single rows; null where there is none. Runs have th = 1.
  RowsFn (*single)(int family, int th, int tw);
  // Kernels for pairs of rows: any th up to kMaxTileH; runs of any length up to max_run have th = 1.
  RowsFn (*pair)(int family, int tw);
  void (*pack_tile)(const PackTile&);
  void (*pack_run)(const PackRun&);
  void (*load)(const Pixels&, const PlaneShape&, float* lines);
  void (*store)(const float* lines, const PlaneShape&, float* nchw);  // one channel
  // `count` channels of a matrix [n, channels] from `first` on, each channel_cells from the one before; of each channel
  // the lines [line, line + n_lines).
  void (*load_rows)(const float* rows, int n, int channels, int first, int count, const PlaneShape&, int line,
                    int n_lines, size_t channel_cells, float* lines);
  void (*store_rows)(const float* lines, int n, int channels, int first, int count, const PlaneShape&,
                     size_t channel_cells, float* rows);
  void (*max_pool)(const PoolPlane&);
  // Line (y, x) of the output is the line (rows[y], columns[x]) of the source, one channel; `fill` where that is outside.
  void (*resample)(const uint32_t* source, const LineMap&, const PlaneShape& out, uint32_t fill, uint32_t* lines);
  // Bilinear means, one channel. scratch: the source row by row, and two rows of the output for each row of the grid.
  void (*interpolate)(const float* source, const PlaneShape& in, const LinearMap&, const PlaneShape& out, float* scratch,
                      float* lines);
  void (*add)(const float* x, const float* y, size_t cells, const Finish&, float* out);  // y may be null
  // Quantized tensors: cells of up to four channels of an image.
  void (*load_quantized)(const Pixels* channel, int channels, const PlaneShape&, const Quantization&, uint32_t* lines);
  // `pixels` from one channel to the next.
  void (*store_quantized)(const uint32_t* lines, const PlaneShape&, const Quantization&, float* nchw, size_t pixels, int channels);
  // Lines of up to four channels, channel_cells from one to the next.
  void (*quantize)(const float* lines, size_t channel_cells, int channels, size_t cells, const Quantization&, uint32_t* out);
  void (*dequantize)(const uint32_t* lines, size_t cells, const Quantization&, float* out, size_t channel_cells, int channels);
  void (*add_quantized)(const uint32_t* x, const uint32_t* y, size_t cells, const Requantize&, uint32_t* out);
  // x + act(y); the zero point of y is not in the offset.
  void (*add_activated)(const uint32_t* x, const uint32_t* y, size_t cells, const Requantize&, uint32_t* out);
  // x * act(y); the zero point of y is not in the offset.
  void (*multiply_activated)(const uint32_t* x, const uint32_t* y, size_t cells, const Requantize&, uint32_t* out);
  // act(x) * factor, with a factor for each of the four channels; add_scale and add_zero are those of x.
  void (*gate_quantized)(const uint32_t* x, const float* factors, size_t cells, const Requantize&, uint32_t* out);
  // The sums of act(x) of each of the four channels over the pixels of a plane; add_scale and add_zero are those of x.
  void (*sum_quantized)(const uint32_t* lines, const PlaneShape&, const Requantize&, float* sums);
  // Sums of the bytes of n lines, plus an offset and times a factor for each cell, in steps.
  void (*average_quantized)(const uint32_t* const* at, int n, const float* offset, const float* factor, int lines,
                            int32_t zero_point, uint32_t* out);
  // Each byte of the cells becomes its entry of a table of 256.
  void (*look_up)(const uint32_t* x, size_t cells, const uint8_t* table, uint32_t* out);
  // Cells made of the pieces of others, which together have all bytes that count.
  void (*assemble)(const BytePiece* pieces, int n, size_t cells, uint32_t* out);
  void (*max_pool_quantized)(const PoolPlane&);
  // Sum of weight[i] times the lines at at[i].
  void (*weighted_sum)(const float* const* at, const float* weight, int n, int lines, float* out);
  void (*depthwise)(const DepthwisePlane&);
  void (*depthwise_rows)(const DepthwiseRows&);
  // Lines whose lanes are channels: planes become these, and these become planes; and a depthwise convolution of them, whose
  // weights and bias are lines too.
  void (*turn)(const TurnedPlanes&);
  void (*turn_back)(const TurnedPlanes&);
  void (*depthwise_turned)(const DepthwisePlane&);
  // act(x - y), act(x * y), and with one factor for all cells act(x * factor + shift).
  void (*subtract)(const float* x, const float* y, size_t cells, const Finish&, float* out);
  void (*multiply)(const float* x, const float* y, size_t cells, const Finish&, float* out);
  void (*scale)(const float* x, float factor, float shift, size_t cells, const Finish&, float* out);
  // Convolution between planes of one pixel: weights are [blocks][inputs][kPixelLines lines] of output channels.
  void (*pixel_layer)(const MatrixRow* weights, const MatrixRow* bias, const float* x, int inputs, int blocks,
                      const Finish&, float* out);
  float (*sum_plane)(const float* lines, const PlaneShape&);  // of the pixels of one channel
  void (*normalize)(const Normalize&);
  void (*bin_means)(const BinMeans&);
  const Int8Kernels* int8;
  const Bf16Kernels* bf16;
  Tuning single_tuning, pair_tuning;
  const DenseKernels* dense = nullptr;       // of int8; null where there is none
  const DenseKernels* dense_bf16 = nullptr;  // ... of bf16
};

// Each is only there in libraries for its processor family.
const Isa* isa_portable();
const DenseKernels* dense_amx();  // null where the compiler knows no such instructions
const DenseKernels* dense_amx_emulated();
const DenseKernels* dense_bf16_amx();  // as dense_amx
const DenseKernels* dense_bf16_amx_emulated();
const Bf16Kernels* bf16_avx512();  // by the instructions of AVX512-BF16
const Int8Kernels* int8_avx512vnni();
void look_up_avx512vbmi(const uint32_t* x, size_t cells, const uint8_t* table, uint32_t* out);
const Int8Kernels* int8_avxvnni();
const Int8Kernels* int8_neon_dot();
const Int8Kernels* int8_neon_i8mm();
const Isa* isa_avx2();
const Isa* isa_avx512();
const Isa* isa_neon();

}  // namespace lth
