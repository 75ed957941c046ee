#include "ops/op.h"

#include <algorithm>
#include <iterator>

namespace lth {

#define LTH_DECLARE(kind) extern const OpDef k##kind##Op;
LTH_OPS(LTH_DECLARE)
#undef LTH_DECLARE

namespace {

#define LTH_ENTRY(kind) &k##kind##Op,
const OpDef* const kTable[] = {LTH_OPS(LTH_ENTRY)};
#undef LTH_ENTRY

}  // namespace

const OpDef& def_of(Op op) { return *kTable[static_cast<size_t>(op)]; }

bool find_op(std::string_view name, Op& op) {
  for (size_t i = 0; i < std::size(kTable); ++i) {
    if (name != kTable[i]->name) continue;
    op = static_cast<Op>(i);
    return true;
  }
  return false;
}

int latest_operator() {
  int latest = 1;
  for (const OpDef* def : kTable) latest = std::max(latest, def->since);
  return latest;
}

std::vector<int> arguments_of(const Instr& instr) {
  if (def_of(instr).takes == Takes::kInput) return {};
  std::vector<int> tensors = instr.args;
  if (instr.add >= 0) tensors.push_back(instr.add);
  return tensors;
}

}  // namespace lth
