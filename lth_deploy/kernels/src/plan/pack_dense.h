// int8 weights in dense form, for instruction sets that multiply matrices: tiles of 16 output rows by 16 cells of
// inputs, zeros and all. Which layers take it is decided here, by the share of their weights that is not zero.
#pragma once

#include <cstdint>
#include <vector>

#include "isa/isa.h"
#include "program/program.h"

namespace lth {

struct Entry;
struct PackedConv;
struct Tile;

enum class DenseForm {
  kNone,
  kSharedColumns,  // 3x3: [ky][16 cells][kx], a loaded column of lines is multiplied by up to three taps
  kWholeWindow     // [cells of the window, column by column]
};

struct DenseWeights {
  DenseForm form = DenseForm::kNone;
  int cells = 0;                  // planes of the input
  int outer = 1, inner = 1;       // steps of the accumulation: see DenseRows
  int columns = 1;
  std::vector<MatrixRow> rows;    // of tiles: [16 output rows][outer][inner][columns]
  // Where only places with weights are multiplied (see plan/pack_gathered.h), rows are [tile][shared] matrix tiles instead:
  int shared = 0;                   // groups of 16 output rows that have the same places; 0 where all places are multiplied
  std::vector<ChannelTap> places;   // 16 of each tile
  std::vector<int32_t> first_tile;  // of each `shared` groups, and the end

  size_t group_rows() const { return static_cast<size_t>(outer) * inner * columns * kMatrixRows; }
  size_t bytes() const {
    return rows.size() * sizeof(MatrixRow) + places.size() * sizeof(ChannelTap) + first_tile.size() * sizeof(int32_t);
  }
};

// How the tile of a layer is packed; all in lines.
struct DenseTile {
  int columns = 0;                // that a tile's windows read, or some of them
  int rows = 0;                   // of lines
  size_t column_lines = 0, row_lines = 0;
  int x_columns = 1, y_rows = 1;  // from one output line to the next

  size_t lines() const { return rows * row_lines; }
};

DenseTile dense_tile(const DenseWeights&, const Window&, int th, int tw);

// Whether windows lie beside each other, each a single pixel.
bool is_pointwise(const Window&);

// The dense form is faster than the kernels that skip zeros where at least this share of its cells has any weight: a
// constant, and more the more of the L2 cache the tiles take: large weights come from memory, where sparse ones are
// shorter. Measured, see docs/kernel_experiments.md.
struct LeastShare {
  double any, of_l2;
};

constexpr LeastShare kDenseBytes = {.11, .17}, kDenseBytesToPixels = {.04, .17}, kDenseBfloats = {.05, .013};

// The weights in the form for matrix tiles that is fastest; the form kNone where that is none. cells: planes of the input.
DenseWeights dense_weights(const std::vector<Entry>& entries, int out_channels, int cells, const Window&, const LeastShare&);

// The tiles that cover a plane at the least estimated cost. whole_rows: as wide as the plane, where results become pixels.
std::vector<Tile> choose_dense_tiles(const PackedConv&, const PlaneShape& out, const Window&, bool whole_rows);

}  // namespace lth
