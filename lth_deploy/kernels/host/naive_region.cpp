#include "naive_region.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "naive_quantized.h"
#include "naive_resample.h"
#include "naive_shapes.h"
#include "naive_tensor.h"

namespace lth {
namespace {

constexpr double kMaxWork = 2e9;  // multiplications of one run
constexpr double kFloatError = 1e-4;  // of sums of floats, relative to the largest magnitude that was seen
constexpr int64_t kMaxTensor = int64_t{1} << 25;

using Tensor = NaiveTensor;

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
      if (!is_load(instr)) inherit(instr, tensor);
      step(instr, inputs, tensor);
      if (!instr.bytes) {
        for (double x : tensor.data) seen(x);
      }
      tensors_.push_back(std::move(tensor));
    }
  }

  const Tensor& tensor(int index) const { return tensors_[index]; }
  double scale() const { return scale_; }

 private:
  void seen(double x) {
    if (!std::isnan(scale_) && !(std::fabs(x) <= scale_)) scale_ = std::fabs(x);  // a NaN stays
  }

  static bool is_load(const Instr& instr) { return instr.op == Op::kLoad || instr.op == Op::kLoadRows; }

  static bool is_nearest(const Instr& instr) {
    return instr.op == Op::kResize && instr.resampling == Resampling::kNearest;
  }

  // What a result may be off by is at most what all arguments may be together, but where weights multiply it.
  void inherit(const Instr& instr, Tensor& out) const {
    const bool copies = instr.op == Op::kMaxPool || is_nearest(instr) || instr.op == Op::kConcat || instr.op == Op::kSlice;
    out.exact = copies;
    for (int argument : instr.args) {
      out.off += tensors_[argument].off;
      out.exact = out.exact && tensors_[argument].exact;
    }
    if (instr.add >= 0) out.off += tensors_[instr.add].off;
    out.off *= naive_slope(instr.act);
  }

  void step(const Instr& instr, const std::vector<const float*>& inputs, Tensor& out) {
    const Tensor* in = is_load(instr) ? nullptr : &tensors_[instr.args[0]];
    switch (instr.op) {
      case Op::kLoad:
      case Op::kLoadRows:
        std::copy_n(inputs[instr.args[0]], out.data.size(), out.data.begin());
        out.exact = true;
        return;
      case Op::kConv:
        out.off *= std::max(1., largest_row(weights_[instr.weight], 0));
        conv(instr, *in, 0., weights_[instr.weight].value, out);
        return finish(instr, out);
      case Op::kConvTranspose:
        out.off *= largest_row(weights_[instr.weight], 1);
        conv_transpose(instr, *in, 0., weights_[instr.weight].value, out);
        return finish(instr, out);
      case Op::kQConv:
        conv(instr, *in, zero_of(instr.args[0]), weights_[instr.weight].integer, out);
        return requantize(instr, *in, 0, out);
      case Op::kQConvTranspose:
        conv_transpose(instr, *in, zero_of(instr.args[0]), weights_[instr.weight].integer, out);
        return requantize(instr, *in, 1, out);
      case Op::kQuantize:
        return naive_quantize(instr.quantized, *in, kFloatError * scale_, out);
      case Op::kDequantize:
        return naive_dequantize(program_.instrs[instr.args[0]].quantized, *in, out);
      case Op::kQAdd:
      case Op::kRequantize: {
        std::vector<const Tensor*> args;
        for (int argument : instr.args) args.push_back(&tensors_[argument]);
        return naive_add_bytes(program_, instr, args, out);
      }
      case Op::kMaxPool:
        work(static_cast<double>(out.plane.elements()) * instr.window.kh * instr.window.kw);
        return naive_max_pool(instr.window, *in, instr.bytes ? 0. : -std::numeric_limits<double>::infinity(), out);
      case Op::kResize:
        return naive_resize(instr.resampling, *in, out);
      case Op::kAdd:
        for (size_t i = 0; i < out.data.size(); ++i) {
          out.data[i] = naive_activation(instr.act, in->data[i] + tensors_[instr.args[1]].data[i]);
        }
        return;
      case Op::kAct:
        for (size_t i = 0; i < out.data.size(); ++i) out.data[i] = naive_activation(instr.act, in->data[i]);
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

  double zero_of(int tensor) const { return program_.instrs[tensor].quantized.zero; }

  // axis: see largest_row.
  void requantize(const Instr& instr, const Tensor& in, size_t axis, Tensor& out) {
    naive_requantize_sums(program_, instr, weights_[instr.scales].value, in, largest_row(weights_[instr.weight], axis),
                          instr.add < 0 ? nullptr : &tensors_[instr.add], out);
  }

  void work(double multiplications) {
    work_ += multiplications;
    if (work_ > kMaxWork) throw TooLarge("too many multiplications for the oracle");
  }

  void start_with_bias(const Instr& instr, Tensor& out) {
    if (instr.bias < 0) return;
    const Weight& bias = weights_[instr.bias];
    const bool quantized = sums_bytes(instr.op);
    for (size_t i = 0; i < bias.position.size(); ++i) {
      const double value = quantized ? bias.integer[i] : static_cast<double>(bias.value[i]);
      if (!quantized) seen(value);
      for (int64_t n = 0; n < out.plane.n; ++n) {
        std::fill_n(out.channel(n, bias.position[i]), out.plane.h * out.plane.w, value);
      }
    }
  }

  void finish(const Instr& instr, Tensor& out) {
    for (size_t i = 0; i < out.data.size(); ++i) {
      if (instr.add >= 0) out.data[i] += tensors_[instr.add].data[i];
      seen(out.data[i]);
      out.data[i] = naive_activation(instr.act, out.data[i]);
    }
  }

  // The largest sum of magnitudes of the weights of one output channel, which is dimension `axis` of the weight.
  static double largest_row(const Weight& weight, size_t axis) {
    std::vector<double> sums(static_cast<size_t>(weight.dims[axis]));
    int64_t stride = 1;
    for (size_t i = axis + 1; i < weight.dims.size(); ++i) stride *= weight.dims[i];
    for (size_t i = 0; i < weight.position.size(); ++i) {
      const double value = weight.value.empty() ? weight.integer[i] : static_cast<double>(weight.value[i]);
      sums[weight.position[i] / stride % weight.dims[axis]] += std::fabs(value);
    }
    return *std::max_element(sums.begin(), sums.end());
  }

  // Sums of (input - zero) times value, and the bias; outside of the image the input is `zero`.
  template <class T>
  void conv(const Instr& instr, const Tensor& in, double zero, const std::vector<T>& values, Tensor& out) {
    const Weight& weight = weights_[instr.weight];
    const Window& w = instr.window;
    const int64_t taps = w.kh * w.kw, group_in = in.plane.c / instr.groups, group_out = out.plane.c / instr.groups;
    work(static_cast<double>(values.size()) * static_cast<double>(out.plane.elements() / out.plane.c));
    start_with_bias(instr, out);
    for (size_t i = 0; i < values.size(); ++i) {
      const int64_t at = weight.position[i];
      const int64_t oc = at / (group_in * taps), ic = at / taps % group_in + oc / group_out * group_in;
      const int64_t ky = at % taps / w.kw * w.dh - w.pt, kx = at % w.kw * w.dw - w.pl;
      if (!sums_bytes(instr.op)) seen(static_cast<double>(values[i]));
      for (int64_t n = 0; n < out.plane.n; ++n) {
        const double* from = in.channel(n, ic);
        double* to = out.channel(n, oc);
        for (int64_t y = 0; y < out.plane.h; ++y) {
          const int64_t iy = y * w.sh + ky;
          if (iy < 0 || iy >= in.plane.h) continue;
          for (int64_t x = 0; x < out.plane.w; ++x) {
            const int64_t ix = x * w.sw + kx;
            if (ix < 0 || ix >= in.plane.w) continue;
            const double product = static_cast<double>(values[i]) * (from[iy * in.plane.w + ix] - zero);
            if (!sums_bytes(instr.op)) seen(product);
            to[y * out.plane.w + x] += product;
          }
        }
      }
    }
  }

  // Sums as those of conv.
  template <class T>
  void conv_transpose(const Instr& instr, const Tensor& in, double zero, const std::vector<T>& values, Tensor& out) {
    const Weight& weight = weights_[instr.weight];
    const Window& w = instr.window;
    const int64_t taps = w.kh * w.kw;
    work(static_cast<double>(values.size()) * static_cast<double>(in.plane.elements() / in.plane.c));
    start_with_bias(instr, out);
    for (size_t i = 0; i < values.size(); ++i) {
      const int64_t at = weight.position[i];
      const int64_t ic = at / (out.plane.c * taps), oc = at / taps % out.plane.c;
      const int64_t ky = at % taps / w.kw, kx = at % w.kw;
      if (!sums_bytes(instr.op)) seen(static_cast<double>(values[i]));
      for (int64_t n = 0; n < in.plane.n; ++n) {
        for (int64_t y = 0; y < in.plane.h; ++y) {
          for (int64_t x = 0; x < in.plane.w; ++x) {
            const double product = static_cast<double>(values[i]) * (in.channel(n, ic)[y * in.plane.w + x] - zero);
            if (!sums_bytes(instr.op)) seen(product);
            out.channel(n, oc)[(y * w.kh + ky) * out.plane.w + x * w.kw + kx] += product;
          }
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

}  // namespace

NaiveResult run_naive(const Program& program, const std::vector<Weight>& weights, const std::vector<Shape>& shapes,
                      const std::vector<const float*>& inputs) {
  const std::vector<Plane> planes = naive_planes(program, shapes);
  Run run(program, weights, planes);
  run.all(inputs);
  NaiveResult result;
  result.shapes = naive_output_shapes(program, planes);
  result.scale = run.scale();
  for (const Output& output : program.outputs) {
    result.outputs.push_back(run.tensor(output.tensor).data);
    result.tolerance.push_back(kFloatError * result.scale + run.tensor(output.tensor).off);
  }
  return result;
}

}  // namespace lth
