#include "naive_region.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "naive_shapes.h"

namespace lth {
namespace {

constexpr double kMaxWork = 2e9;  // multiplications of one run
constexpr int64_t kMaxTensor = int64_t{1} << 25;

struct Tensor {
  Plane plane;
  std::vector<double> data;
  double* channel(int64_t n, int64_t c) { return data.data() + (n * plane.c + c) * plane.h * plane.w; }
  const double* channel(int64_t n, int64_t c) const { return data.data() + (n * plane.c + c) * plane.h * plane.w; }
};

double activate(const Act& act, double x) {
  switch (act.kind) {
    case ActKind::kRelu:
      return x > 0 ? x : 0;
    case ActKind::kLeaky:
      return x > 0 ? x : x * act.a;
    case ActKind::kClip:
      return std::min<double>(std::max<double>(x, act.a), act.b);
    case ActKind::kSilu:
      return x / (1 + std::exp(-x));
    case ActKind::kHardSwish:
      return x * std::min(std::max(x / 6 + 0.5, 0.), 1.);
    default:
      return x;
  }
}

class Run {
 public:
  Run(const Program& program, const std::vector<Weight>& weights, const std::vector<Plane>& planes)
      : program_(program), weights_(weights), planes_(planes) {
    for (const Plane& plane : planes) {
      if (plane.elements() > kMaxTensor) throw TooLarge("a tensor too large for the oracle");
    }
  }

  void all(const std::vector<const float*>& inputs) {
    tensors_.reserve(planes_.size());
    for (const Instr& instr : program_.instrs) {
      Tensor tensor;
      tensor.plane = planes_[tensors_.size()];
      tensor.data.resize(static_cast<size_t>(tensor.plane.elements()));
      step(instr, inputs, tensor);
      for (double x : tensor.data) seen(x);
      tensors_.push_back(std::move(tensor));
    }
  }

  const Tensor& tensor(int index) const { return tensors_[index]; }
  double scale() const { return scale_; }

 private:
  void seen(double x) {
    if (!std::isnan(scale_) && !(std::fabs(x) <= scale_)) scale_ = std::fabs(x);  // a NaN stays
  }

  void step(const Instr& instr, const std::vector<const float*>& inputs, Tensor& out) {
    const Tensor* in = instr.op == Op::kLoad || instr.op == Op::kLoadRows ? nullptr : &tensors_[instr.args[0]];
    switch (instr.op) {
      case Op::kLoad:
      case Op::kLoadRows:
        std::copy_n(inputs[instr.args[0]], out.data.size(), out.data.begin());
        return;
      case Op::kConv:
        return conv(instr, *in, out);
      case Op::kConvTranspose:
        return conv_transpose(instr, *in, out);
      case Op::kMaxPool:
        return max_pool(instr.window, *in, out);
      case Op::kResize:
        return resize(*in, out);
      case Op::kAdd:
        for (size_t i = 0; i < out.data.size(); ++i) {
          out.data[i] = activate(instr.act, in->data[i] + tensors_[instr.args[1]].data[i]);
        }
        return;
      case Op::kAct:
        for (size_t i = 0; i < out.data.size(); ++i) out.data[i] = activate(instr.act, in->data[i]);
        return;
      case Op::kConcat:
        return concat(instr, out);
      case Op::kSlice:
        for (int64_t n = 0; n < out.plane.n; ++n) {
          std::copy(in->channel(n, instr.from), in->channel(n, instr.to), out.channel(n, 0));
        }
        return;
    }
  }

  void work(double multiplications) {
    work_ += multiplications;
    if (work_ > kMaxWork) throw TooLarge("too many multiplications for the oracle");
  }

  void start_with_bias(const Instr& instr, Tensor& out) {
    if (instr.bias < 0) return;
    const Weight& bias = weights_[instr.bias];
    for (size_t i = 0; i < bias.value.size(); ++i) {
      seen(bias.value[i]);
      for (int64_t n = 0; n < out.plane.n; ++n) {
        std::fill_n(out.channel(n, bias.position[i]), out.plane.h * out.plane.w, bias.value[i]);
      }
    }
  }

  void finish(const Instr& instr, Tensor& out) {
    for (size_t i = 0; i < out.data.size(); ++i) {
      if (instr.add >= 0) out.data[i] += tensors_[instr.add].data[i];
      seen(out.data[i]);
      out.data[i] = activate(instr.act, out.data[i]);
    }
  }

  void conv(const Instr& instr, const Tensor& in, Tensor& out) {
    const Weight& weight = weights_[instr.weight];
    const Window& w = instr.window;
    const int64_t taps = w.kh * w.kw, group_in = in.plane.c / instr.groups, group_out = out.plane.c / instr.groups;
    work(static_cast<double>(weight.value.size()) * static_cast<double>(out.plane.elements() / out.plane.c));
    start_with_bias(instr, out);
    for (size_t i = 0; i < weight.value.size(); ++i) {
      const int64_t at = weight.position[i];
      const int64_t oc = at / (group_in * taps), ic = at / taps % group_in + oc / group_out * group_in;
      const int64_t ky = at % taps / w.kw * w.dh - w.pt, kx = at % w.kw * w.dw - w.pl;
      seen(weight.value[i]);
      for (int64_t n = 0; n < out.plane.n; ++n) {
        const double* from = in.channel(n, ic);
        double* to = out.channel(n, oc);
        for (int64_t y = 0; y < out.plane.h; ++y) {
          const int64_t iy = y * w.sh + ky;
          if (iy < 0 || iy >= in.plane.h) continue;
          for (int64_t x = 0; x < out.plane.w; ++x) {
            const int64_t ix = x * w.sw + kx;
            if (ix < 0 || ix >= in.plane.w) continue;
            const double product = weight.value[i] * from[iy * in.plane.w + ix];
            seen(product);
            to[y * out.plane.w + x] += product;
          }
        }
      }
    }
    finish(instr, out);
  }

  void conv_transpose(const Instr& instr, const Tensor& in, Tensor& out) {
    const Weight& weight = weights_[instr.weight];
    const Window& w = instr.window;
    const int64_t taps = w.kh * w.kw;
    work(static_cast<double>(weight.value.size()) * static_cast<double>(in.plane.elements() / in.plane.c));
    start_with_bias(instr, out);
    for (size_t i = 0; i < weight.value.size(); ++i) {
      const int64_t at = weight.position[i];
      const int64_t ic = at / (out.plane.c * taps), oc = at / taps % out.plane.c;
      const int64_t ky = at % taps / w.kw, kx = at % w.kw;
      seen(weight.value[i]);
      for (int64_t n = 0; n < in.plane.n; ++n) {
        for (int64_t y = 0; y < in.plane.h; ++y) {
          for (int64_t x = 0; x < in.plane.w; ++x) {
            const double product = weight.value[i] * in.channel(n, ic)[y * in.plane.w + x];
            seen(product);
            out.channel(n, oc)[(y * w.kh + ky) * out.plane.w + x * w.kw + kx] += product;
          }
        }
      }
    }
    finish(instr, out);
  }

  void max_pool(const Window& w, const Tensor& in, Tensor& out) {
    work(static_cast<double>(out.plane.elements()) * w.kh * w.kw);
    for (int64_t nc = 0; nc < out.plane.n * out.plane.c; ++nc) {
      const double* from = in.channel(0, nc);
      for (int64_t y = 0; y < out.plane.h; ++y) {
        for (int64_t x = 0; x < out.plane.w; ++x) {
          double best = -std::numeric_limits<double>::infinity();
          for (int ky = 0; ky < w.kh; ++ky) {
            for (int kx = 0; kx < w.kw; ++kx) {
              const int64_t iy = y * w.sh + ky * w.dh - w.pt, ix = x * w.sw + kx * w.dw - w.pl;
              if (iy < 0 || iy >= in.plane.h || ix < 0 || ix >= in.plane.w) continue;
              best = std::max(best, from[iy * in.plane.w + ix]);
            }
          }
          out.channel(0, nc)[y * out.plane.w + x] = best;
        }
      }
    }
  }

  static void resize(const Tensor& in, Tensor& out) {
    for (int64_t nc = 0; nc < out.plane.n * out.plane.c; ++nc) {
      for (int64_t y = 0; y < out.plane.h; ++y) {
        for (int64_t x = 0; x < out.plane.w; ++x) {
          const int64_t iy = y * in.plane.h / out.plane.h, ix = x * in.plane.w / out.plane.w;
          out.channel(0, nc)[y * out.plane.w + x] = in.channel(0, nc)[iy * in.plane.w + ix];
        }
      }
    }
  }

  void concat(const Instr& instr, Tensor& out) {
    for (int64_t n = 0; n < out.plane.n; ++n) {
      double* to = out.channel(n, 0);
      for (int argument : instr.args) {
        const Tensor& part = tensors_[argument];
        to = std::copy(part.channel(n, 0), part.channel(n, part.plane.c), to);
      }
    }
  }

  const Program& program_;
  const std::vector<Weight>& weights_;
  const std::vector<Plane>& planes_;
  std::vector<Tensor> tensors_;
  double work_ = 0;
  double scale_ = 0;
};

class NaiveRegion : public Region {
 public:
  NaiveRegion(Program program, std::vector<Weight> weights)
      : program_(std::move(program)), weights_(std::move(weights)) {}

  std::vector<Shape> output_shapes(const std::vector<Shape>& inputs) const override {
    return naive_output_shapes(program_, naive_planes(program_, inputs));
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
    for (const Weight& weight : weights_) bytes += 8 * weight.value.size();
    return bytes;
  }

 private:
  Program program_;
  std::vector<Weight> weights_;
};

}  // namespace

NaiveResult run_naive(const Program& program, const std::vector<Weight>& weights, const std::vector<Shape>& shapes,
                      const std::vector<const float*>& inputs) {
  const std::vector<Plane> planes = naive_planes(program, shapes);
  Run run(program, weights, planes);
  run.all(inputs);
  NaiveResult result;
  result.shapes = naive_output_shapes(program, planes);
  for (const Output& output : program.outputs) result.outputs.push_back(run.tensor(output.tensor).data);
  result.scale = run.scale();
  return result;
}

std::unique_ptr<Region> make_naive_region(Program program, std::vector<Weight> weights) {
  return std::make_unique<NaiveRegion>(std::move(program), std::move(weights));
}

}  // namespace lth
