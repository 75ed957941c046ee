#include "plan/region.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <list>
#include <mutex>

#include "execute/execute.h"
#include "ops/op.h"
#include "plan/form.h"
#include "plan/plan.h"
#include "plan/transposed_phases.h"
#include "tuning/tuned_isa.h"

namespace lth {
namespace {

constexpr size_t kPlansKept = 16;

bool same_shapes(const std::vector<Shape>& a, const std::vector<Shape>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Shape& x, const Shape& y) { return x.rank == y.rank && x.dims == y.dims; });
}

// The plans of the latest shapes, most recent first.
class PlanCache {
 public:
  std::shared_ptr<const Plan> get(const Compiled& c, const std::vector<Shape>& shapes) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (auto at = kept_.begin(); at != kept_.end(); ++at) {
        if (!same_shapes(at->shapes, shapes)) continue;
        kept_.splice(kept_.begin(), kept_, at);
        return kept_.front().plan;
      }
    }
    std::shared_ptr<const Plan> plan = make_plan(c, shapes);
    const std::lock_guard<std::mutex> lock(mutex_);
    kept_.push_front({shapes, plan});
    if (kept_.size() > kPlansKept) kept_.pop_back();
    return plan;
  }

 private:
  struct Entry {
    std::vector<Shape> shapes;
    std::shared_ptr<const Plan> plan;
  };
  std::mutex mutex_;
  std::list<Entry> kept_;
};

class CompiledRegion final : public Region {
 public:
  CompiledRegion(Compiled compiled, double seconds)
      : compiled_(std::move(compiled)), profile_(compiled_.program.instrs.size()) {
    if (profile_.on()) profile_.made(weight_bytes(), seconds, forms());
  }

  std::vector<Shape> output_shapes(const std::vector<Shape>& inputs) const override {
    return plans_.get(compiled_, inputs)->outputs;
  }

  void run(const std::vector<Shape>& shapes, const std::vector<const float*>& inputs,
           const std::vector<float*>& outputs, Parallel& parallel) const override {
    const std::shared_ptr<const Plan> plan = plans_.get(compiled_, shapes);
    std::unique_ptr<Workspace> workspace = pool_.take();
    execute(compiled_, *plan, inputs, outputs, parallel, *workspace, threads_, profile_);
    pool_.give_back(std::move(workspace));
  }

  size_t weight_bytes() const override {
    size_t total = 0;
    for (const PackedConv& conv : compiled_.convs) total += conv.bytes();
    for (const Int8Rows& rows : compiled_.int8_rows) total += rows.bytes();
    for (const PixelLayer& layer : compiled_.pixel_layers) total += layer.bytes();
    for (const ChannelValues& of : compiled_.channel_values) total += sizeof(float) * (of.factor.size() + of.shift.size());
    return total;
  }

 private:
  std::vector<std::string> forms() const {
    std::vector<std::string> forms;
    for (const int conv : compiled_.conv_of) forms.push_back(conv < 0 ? "" : form_of(compiled_.convs[conv]));
    return forms;
  }

  Compiled compiled_;
  mutable PlanCache plans_;
  mutable WorkspacePool pool_;
  mutable std::atomic<int> threads_{1};
  mutable Profile profile_;
};

// How a window walks decides how weights are packed; where it starts does not.
bool same_packing(const Instr& a, const Instr& b) {
  const Window &x = a.window, &y = b.window;
  return a.op == b.op && a.weight == b.weight && (def_of(a).int8_weights || a.bias == b.bias) && a.groups == b.groups && x.kh == y.kh &&
         x.kw == y.kw && x.sh == y.sh && x.sw == y.sw && x.dh == y.dh && x.dw == y.dw;
}

// An earlier instruction with the same packed weights: heads that run on several levels. -1 for none.
int packed_before(const Program& program, size_t i) {
  for (size_t j = 0; j < i; ++j) {
    if (same_packing(program.instrs[j], program.instrs[i])) return static_cast<int>(j);
  }
  return -1;
}

// The instructions that read each tensor; an output counts as one, -1.
std::vector<std::vector<int>> readers_of(const Program& program) {
  std::vector<std::vector<int>> readers(program.instrs.size());
  for (size_t i = 0; i < program.instrs.size(); ++i) {
    for (int a : arguments_of(program.instrs[i])) readers[a].push_back(static_cast<int>(i));
  }
  for (const Output& output : program.outputs) readers[output.tensor].push_back(-1);
  return readers;
}

// Inputs that are only quantized are read as uint8, with a space-to-depth on the way or not, and quantized tensors that are
// only returned are written as float32.
std::vector<bool> fused_io(const Program& program) {
  const auto& instrs = program.instrs;
  const std::vector<std::vector<int>> readers = readers_of(program);
  std::vector<bool> result(instrs.size());
  for (size_t i = 0; i < instrs.size(); ++i) {
    const Instr& in = instrs[i];
    const auto read_by = [&](Op first, Op second) {
      return std::all_of(readers[i].begin(), readers[i].end(),
                         [&](int r) { return r >= 0 && (instrs[r].op == first || instrs[r].op == second); });
    };
    if (in.op == Op::kLoad) result[i] = read_by(Op::kQuantize, Op::kSpaceToDepth);
    if (in.op == Op::kSpaceToDepth) result[i] = result[in.args[0]] && read_by(Op::kQuantize, Op::kQuantize);
    if (in.op == Op::kDequantize) result[i] = !in.rows && std::none_of(readers[i].begin(), readers[i].end(), [](int r) { return r >= 0; });
  }
  return result;
}

// Of each layer the output that matrix tiles would write as pixels, as soon as a row of lines is done; -1 for none: float32
// results that are an output and nothing else. Not those of pointwise layers, whose tiles do not begin and end with rows;
// nor of layers with a residual, which is lines.
std::vector<int> pixel_outputs(const Program& program) {
  std::vector<int> result(program.instrs.size(), -1), outputs(program.instrs.size(), 0);
  for (const Output& output : program.outputs) ++outputs[output.tensor];
  for (size_t o = 0; o < program.outputs.size(); ++o) {
    const int i = program.outputs[o].tensor;
    const Instr& in = program.instrs[i];
    if (in.weight < 0 || def_of(in).transposed || is_pointwise(in.window)) continue;
    if (!in.quantized && !in.rows && in.add < 0 && outputs[i] == 1) result[i] = static_cast<int>(o);
  }
  for (const Instr& in : program.instrs) {
    for (int a : arguments_of(in)) result[a] = -1;
  }
  return result;
}

// Of these, those of layers that matrix tiles compute.
std::vector<int> written_outputs(const Compiled& c, std::vector<int> outputs) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const bool in_tiles = c.conv_of[i] >= 0 && c.convs[c.conv_of[i]].dense.form != DenseForm::kNone;
    if (!in_tiles) outputs[i] = -1;
  }
  return outputs;
}

// What is packed of a weighted instruction: its own constants, or those of the 1x1 convolution that stands for it.
class LayerConstants {
 public:
  LayerConstants(const Instr& in, const std::vector<Weight>& weights) {
    if (def_of(in).transposed) {
      phases_ = phases_of(in, weights);
      weight = &phases_.weight;
      bias = in.bias >= 0 ? &phases_.bias : nullptr;
      scales = &phases_.scales;
      return;
    }
    weight = &weights[in.weight];
    if (def_of(in).inputs_first) {
      outputs_first_ = outputs_first(*weight);
      weight = &outputs_first_;
    }
    bias = in.bias >= 0 ? &weights[in.bias] : nullptr;
    scales = in.scales >= 0 ? &weights[in.scales] : nullptr;
    window = in.window;
  }
  LayerConstants(const LayerConstants&) = delete;
  LayerConstants& operator=(const LayerConstants&) = delete;

  const Weight *weight = nullptr, *bias = nullptr, *scales = nullptr;
  Window window;

 private:
  Phases phases_;
  Weight outputs_first_;
};

// Of each channel the value of a constant, or `other` where there is none. Zeros are not stored.
std::vector<float> values_of(int constant, const std::vector<Weight>& weights, int channels, float other) {
  std::vector<float> values(static_cast<size_t>(channels), constant < 0 ? other : 0.f);
  if (constant < 0) return values;
  const Weight& weight = weights[constant];
  for (size_t i = 0; i < weight.position.size(); ++i) values[weight.position[i]] = weight.value[i];
  return values;
}

ChannelValues channel_values_of(const Instr& in, const std::vector<Weight>& weights) {
  if (in.factor < 0 && in.shift < 0) return {};
  if (in.op == Op::kBinMean) return {values_of(in.factor, weights, static_cast<int>(weights[in.factor].dims[0]), 1.f), {}};
  ChannelValues of{values_of(in.factor, weights, in.channels, 1.f), values_of(in.shift, weights, in.channels, -0.f)};
  if (in.mean < 0) return of;
  const std::vector<float> mean = values_of(in.mean, weights, in.channels, 0.f);
  const std::vector<float> variance = values_of(in.variance, weights, in.channels, 0.f);
  for (size_t c = 0; c < mean.size(); ++c) {
    const double factor = of.factor[c] / std::sqrt(static_cast<double>(variance[c]) + static_cast<double>(in.epsilon));
    of.factor[c] = static_cast<float>(factor);
    of.shift[c] = static_cast<float>(of.shift[c] - factor * mean[c]);
  }
  return of;
}

}  // namespace

std::unique_ptr<Region> make_region(Program program, std::vector<Weight> weights, const std::string& isa,
                                    const std::string& tuning) {
  const std::clock_t began = std::clock();
  Compiled c;
  c.isa = &tuned_isa(isa, tuning);
  c.conv_of.assign(program.instrs.size(), -1);
  c.int8_rows.resize(program.instrs.size());
  c.tables.resize(program.instrs.size());
  c.fused_io = fused_io(program);
  c.pixel_layers.resize(program.instrs.size());
  const std::vector<bool> single = single_pixels(program);
  const std::vector<int> to_pixels = pixel_outputs(program);
  for (size_t i = 0; i < program.instrs.size(); ++i) {
    const Instr& in = program.instrs[i];
    if (def_of(in).table != nullptr) c.tables[i] = def_of(in).table(program, in, *c.isa);
    c.channel_values.push_back(channel_values_of(in, weights));
    if (in.weight < 0) continue;
    const bool bf16 = program.weights[in.weight].type == ValueType::kBfloat;
    const bool between_pixels = in.op == Op::kConv && !bf16 && single[i] && in.groups == 1 && in.add < 0;
    if (between_pixels) c.pixel_layers[i] = pixel_layer(in, weights, c.isa->lanes);
    const LayerConstants constants(in, weights);
    if (def_of(in).int8_weights) {
      c.int8_rows[i] = int8_rows(program, in, *constants.weight, constants.bias, *constants.scales, *c.isa);
    }
    const int twin = packed_before(program, i);
    if (twin >= 0) {
      c.conv_of[i] = c.conv_of[twin];
      continue;
    }
    c.conv_of[i] = static_cast<int>(c.convs.size());
    if (def_of(in).int8_weights) {
      c.convs.push_back(pack_int8(*constants.weight, in.groups, constants.window, *c.isa, to_pixels[i] >= 0));
    } else if (bf16) {
      c.convs.push_back(pack_bf16(*constants.weight, constants.bias, constants.window, *c.isa));
    } else {
      c.convs.push_back(pack_conv(*constants.weight, constants.bias, in.groups, constants.window, *c.isa));
    }
  }
  c.program = std::move(program);
  c.writes_output = written_outputs(c, to_pixels);
  const double seconds = static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC;
  return std::make_unique<CompiledRegion>(std::move(c), seconds);
}

}  // namespace lth
