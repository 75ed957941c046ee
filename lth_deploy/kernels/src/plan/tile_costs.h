// What the choices of blocks and of tiles share: how long the parts of a row's work take, in multiply-adds of one line.
#pragma once

#include "plan/pack.h"

namespace lth {

// Share of the loads of a packed tile of this many bytes that miss the L1 cache.
double missed(double bytes);

// Whether blocks are chosen by their cost: where this was faster than by shares of the caches. Of 1x1 layers and of single
// rows with stride 2 it was not.
bool by_cost(const PackedConv&, const Isa&);

// Parts in which a row of a tile of th x tw lines is computed: of pairs, the accumulators of a part fit the registers.
double parts_of(const PackedConv&, const Isa&, int th, int tw);

// The number of blocks, `at_least` or more, at which `used` inputs of a group cost the least. records: of its `rows` rows.
int blocks_by_cost(const PackedConv&, const Isa&, const Window&, double records, int rows, int used, int at_least);

}  // namespace lth
