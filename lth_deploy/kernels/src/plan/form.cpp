#include "plan/form.h"

namespace lth {

std::string form_of(const PackedConv& conv) {
  const DenseWeights& tiles = conv.dense;
  if (tiles.form != DenseForm::kNone) {
    const char* const kind = tiles.shared == 0 ? "dense " : tiles.shared == 1 ? "gathered " : "gathered by 32 ";
    return kind + std::to_string(tiles.rows.size() / kMatrixRows);
  }
  if (!conv.depthwise.value.empty()) return "depthwise";
  return conv.pairs ? "pairs" : "single";
}

}  // namespace lth
