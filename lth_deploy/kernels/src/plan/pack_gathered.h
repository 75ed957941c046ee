// int8 weights whose zeros come in blocks of 16 or 32 output rows, for instruction sets that multiply matrices: matrix tiles of
// 16 output rows by 16 of the places at which these rows have any weight. Whether a layer's zeros allow it is decided here.
#pragma once

#include <vector>

#include "plan/pack_dense.h"

namespace lth {

struct Entry;

// Fills `w`, of which form and shape are set, with the places of each 16 rows, or of each 32, and their weights; returns false, and
// leaves it, where another form is faster.
bool gather_places(DenseWeights& w, const std::vector<Entry>& entries, int out_channels, const Window&);

// Cycles that the products of `lines` output lines take.
double gathered_cost(const DenseWeights&, int lines);

}  // namespace lth
