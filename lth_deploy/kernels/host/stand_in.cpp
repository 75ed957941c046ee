// Lets the oracle stand in for the kernels, to test everything around them.
#include <algorithm>
#include <utility>

#include "isa/dispatch.h"
#include "naive/region.h"
#include "naive/roi_align.h"
#include "naive/shapes.h"
#include "tuning/record.h"

namespace lth {
namespace {

class NaiveRegion : public Region {
 public:
  NaiveRegion(Program program, std::vector<Weight> weights)
      : program_(std::move(program)), weights_(std::move(weights)) {}

  std::vector<Shape> output_shapes(const std::vector<Shape>& inputs) const override {
    return naive_output_shapes(program_, inputs, naive_planes(program_, inputs));
  }

  void run(const std::vector<Shape>& shapes, const std::vector<const float*>& inputs,
           const std::vector<float*>& outputs, Parallel&) const override {
    const NaiveResult result = run_naive(program_, weights_, shapes, inputs);
    for (size_t i = 0; i < outputs.size(); ++i) {
      std::transform(result.outputs[i].begin(), result.outputs[i].end(), outputs[i],
                     [](double x) { return static_cast<float>(x); });
    }
  }

  size_t weight_bytes() const override {
    size_t bytes = 0;
    for (const Weight& weight : weights_) bytes += 8 * weight.position.size();
    return bytes;
  }

 private:
  Program program_;
  std::vector<Weight> weights_;
};

}  // namespace

const Isa& choose_isa(const std::string& isa) {
  if (!isa.empty() && isa != "portable") throw Error("LTH_ISA is portable, found '" + isa + "'");
  static const Isa none{};
  return none;
}

std::unique_ptr<Region> make_region(Program program, std::vector<Weight> weights, const std::string& isa,
                                    const std::string& tuning) {
  choose_isa(isa);
  if (!tuning.empty()) parse_tuning(tuning, "portable");
  return std::make_unique<NaiveRegion>(std::move(program), std::move(weights));
}

std::vector<std::string> isa_names() { return {"portable"}; }

void roi_align(const RoiAlign& how, const Boxes& boxes, const std::string&, Parallel&, float* out) {
  for (double x : naive_roi_align(how, boxes)) *out++ = static_cast<float>(x);
}

}  // namespace lth
