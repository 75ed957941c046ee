// Lets the oracle stand in for the kernels, to test everything around them.
#include "naive_region.h"

namespace lth {

std::unique_ptr<Region> make_region(Program program, std::vector<Weight> weights, const std::string& isa) {
  if (!isa.empty() && isa != "portable") throw Error("LTH_ISA is portable, found '" + isa + "'");
  return make_naive_region(std::move(program), std::move(weights));
}

std::vector<std::string> isa_names() { return {"portable"}; }

}  // namespace lth
