// A cell of a quantized tensor that is made of bytes of other tensors' cells.
#pragma once

#include <algorithm>

#include "execute/call.h"

namespace lth {

class BytePieces {
 public:
  // Of the channels [first, first + count), those that are channels `shift` further on of a tensor; image n of it.
  void add(const Call& call, int tensor, int n, int shift, int first, int count) {
    const int end = std::min(first + count + shift, call.tensor(tensor).channels);
    for (int at = std::max(first + shift, 0); at < end;) {
      const int stop = std::min(end, at / kInCell * kInCell + kInCell);
      pieces_[count_++] = {call.cells_of(tensor, n, at / kInCell), at % kInCell, at - shift - first, stop - at};
      at = stop;
    }
  }

  void assemble(const Call& call, size_t cells, uint32_t* out) const { call.isa.assemble(pieces_, count_, cells, out); }

 private:
  static constexpr int kInCell = 4;

  BytePiece pieces_[kInCell];  // each has a byte or more
  int count_ = 0;
};

}  // namespace lth
