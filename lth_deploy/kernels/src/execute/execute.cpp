#include "execute/execute.h"

#include <algorithm>
#include <cstring>

#include "execute/call_tensors.h"
#include "execute/run_conv.h"

namespace lth {
namespace {

class Runner : CallTensors {
 public:
  Runner(const Compiled& c, const Plan& plan, const std::vector<const float*>& inputs, Parallel& parallel,
         Workspace& workspace, std::atomic<int>& threads)
      : CallTensors(plan, c.isa->lanes, static_cast<char*>(workspace.arena.at_least(plan.arena_bytes + 64)), parallel),
        c_(c), inputs_(inputs), workspace_(workspace), threads_(threads) {}

  void run(int i) {
    const Instr& in = c_.program.instrs[i];
    if (c_.passed_by[i]) return;
    switch (in.op) {
      case Op::kLoad: return load(i, in);
      case Op::kLoadRows: return load_rows(i, in);
      case Op::kConv:
      case Op::kQConv: return conv(i, in);
      case Op::kConvTranspose:
      case Op::kQConvTranspose: return conv_transpose(i, in);
      case Op::kMaxPool: return max_pool(i, in);
      case Op::kResize: return resize(i, in);
      case Op::kAdd:
      case Op::kAct: return add(i, in);
      case Op::kConcat: return concat(i, in);
      case Op::kSlice: return;  // a view
      case Op::kQuantize: return quantize(i, in);
      case Op::kQAdd:
      case Op::kRequantize: return add_bytes(i, in);
      case Op::kDequantize: return dequantize(i, in);
    }
  }

  void store(const Output& output, float* to) {
    const TensorPlan& t = plan_.tensors[output.tensor];
    if (output.rows) {
      each_group(t.channels, [&](int first, int count) {
        c_.isa->store_rows(plane(output.tensor, 0, first), static_cast<int>(plan_.rows), t.channels, first, count,
                           t.plane, buffer(output.tensor).cells, to);
      });
      return;
    }
    const size_t pixels = static_cast<size_t>(t.plane.H) * t.plane.W;
    if (c_.passed_by[output.tensor]) return store_bytes(c_.program.instrs[output.tensor].args[0], pixels, to);
    each_plane(output.tensor, [&](int n, int c) {
      c_.isa->store(plane(output.tensor, n, c), t.plane, to + (static_cast<size_t>(n) * t.channels + c) * pixels);
    });
  }

 private:
  const Quantized& quantized(int tensor) const { return c_.program.instrs[tensor].quantized; }

  void load(int i, const Instr& in) {
    const TensorPlan& t = plan_.tensors[i];
    const size_t pixels = static_cast<size_t>(t.plane.H) * t.plane.W;
    each_plane(i, [&](int n, int c) {
      c_.isa->load(inputs_[in.args[0]] + (static_cast<size_t>(n) * t.channels + c) * pixels, t.plane, plane(i, n, c));
    });
  }

  void load_rows(int i, const Instr& in) {
    const TensorPlan& t = plan_.tensors[i];
    if (t.in_place) return;
    each_group(t.channels, [&](int first, int count) {
      c_.isa->load_rows(inputs_[in.args[0]], static_cast<int>(plan_.rows), t.channels, first, count, t.plane, 0,
                        t.plane.w, buffer(i).cells, plane(i, 0, first));
    });
  }

  ConvCall conv_call(int i, const Instr& in) const {
    ConvCall call;
    const int x = in.args[0];
    call.conv = &c_.convs[c_.conv_of[i]];
    call.isa = c_.isa;
    call.tiles = &plan_.instrs[i].tiles;
    call.map = plan_.instrs[i].map.view();
    call.window = in.window;
    call.n = plan_.tensors[i].n;
    const TensorPlan& source = plan_.tensors[x];
    if (source.in_place) {
      const float* const rows = inputs_[c_.program.instrs[x].args[0]];
      call.matrix = {rows, static_cast<int>(plan_.rows), source.channels, source.plane};
    } else {
      call.source = planes(x);
    }
    call.bias = call.conv->bias.data();
    call.finish = finish_of(in.act);
    return call;
  }

  void conv(int i, const Instr& in) {
    ConvCall call = conv_call(i, in);
    call.out_w = plan_.tensors[i].plane.w;
    call.contiguous = in.window.kh * in.window.kw * in.window.sh * in.window.sw == 1 &&
                      same_plane(plan_.tensors[i].plane, plan_.tensors[in.args[0]].plane) && in.window.pt + in.window.pl == 0;
    call.out = planes(i);
    if (in.add >= 0) call.add = planes(in.add);
    sum(i, in, call);
  }

  // Sums of floats; or of bytes, which are brought to the scale of the result.
  void sum(int i, const Instr& in, ConvCall call) {
    Requantize requantize;
    if (sums_bytes(in.op)) {
      requantize = c_.quads[i].requantize;
      requantize.multiplier = c_.quads[i].multiplier.data();
      call.bias = c_.quads[i].bias.data();
      call.requantize = &requantize;
      call.fill = 0x01010101u * static_cast<uint32_t>(quantized(in.args[0]).zero);
      call.finish = {};
    }
    run_conv(call, parallel_, workspace_, threads_);
  }

  void conv_transpose(int i, const Instr& in) {
    const InstrPlan& p = plan_.instrs[i];
    const Buffer& scratch = plan_.buffers[p.scratch.buffer];
    float* const phases = start(scratch);
    ConvCall call = conv_call(i, in);
    call.window = Window{};
    call.out_w = plan_.tensors[in.args[0]].plane.w;
    call.contiguous = true;
    call.out = {phases, scratch.cells, scratch.cells * scratch.planes};
    const int all = call.n;
    for (int first = 0; first < all; first += p.pictures) {
      call.n = std::min(p.pictures, all - first);
      call.source.first = plane(in.args[0], first, 0);
      sum(i, in, call);
      each_plane_of_workers(i, first, call.n, [&](int, int n, int c) {
        const size_t from = (static_cast<size_t>(n - first) * scratch.planes + c) * scratch.cells;
        c_.isa->resample(reinterpret_cast<const uint32_t*>(phases + from), p.phases.view(), plan_.tensors[i].plane,
                         cells_of(i, n, c));
      });
    }
  }

  void max_pool(int i, const Instr& in) {
    const Window& k = in.window;
    if (in.bytes) {
      each_plane(i, [&](int n, int c) {
        c_.isa->max_pool_bytes(cells_of(in.args[0], n, c), plan_.instrs[i].map.view(), plan_.tensors[i].plane, k.kh, k.kw,
                               k.sh, k.sw, k.dh, k.dw, cells_of(i, n, c));
      });
      return;
    }
    each_plane(i, [&](int n, int c) {
      c_.isa->max_pool(plane(in.args[0], n, c), plan_.instrs[i].map.view(), plan_.tensors[i].plane, k.kh, k.kw, k.sh,
                       k.sw, k.dh, k.dw, plane(i, n, c));
    });
  }

  void resize(int i, const Instr& in) {
    if (in.resampling != Resampling::kNearest) return interpolate(i, in.args[0]);
    each_plane(i, [&](int n, int c) {
      c_.isa->resample(reinterpret_cast<const uint32_t*>(plane(in.args[0], n, c)), plan_.instrs[i].map.view(),
                       plan_.tensors[i].plane, cells_of(i, n, c));
    });
  }

  void interpolate(int i, int x) {
    const PlaneShape &from = plan_.tensors[x].plane, &to = plan_.tensors[i].plane;
    const size_t scratch = linear_cells(from, to, c_.isa->lanes) * sizeof(float);
    each_plane_of_workers(i, [&](int worker, int n, int c) {
      c_.isa->interpolate(plane(x, n, c), from, plan_.instrs[i].linear.view(), to,
                          static_cast<float*>(workspace_.workers[worker].tile.at_least(scratch)), plane(i, n, c));
    });
  }

  void add(int i, const Instr& in) {
    const Finish finish = finish_of(in.act);
    each_plane(i, [&](int n, int c) {
      const float* const y = in.op == Op::kAdd ? plane(in.args[1], n, c) : nullptr;
      c_.isa->add(plane(in.args[0], n, c), y, cells(i), finish, plane(i, n, c));
    });
  }

  void concat(int i, const Instr& in) {
    int base = 0;
    for (int a : in.args) {
      const bool in_place = plane(a, 0, 0) == plane(i, 0, base) && buffer(a).planes == buffer(i).planes;
      if (!in_place) {
        each_plane(a, [&](int n, int c) { std::memcpy(plane(i, n, base + c), plane(a, n, c), cells(a) * 4); });
      }
      base += plan_.tensors[a].planes;
    }
  }

  // Channels of the last cell may be fewer than four.
  int channels_in(const TensorPlan& t, int cell) const { return std::min(4, t.channels - 4 * cell); }

  void quantize(int i, const Instr& in) {
    const TensorPlan& t = plan_.tensors[i];
    const int x = in.args[0];
    if (c_.passed_by[x]) {
      const float* const from = inputs_[c_.program.instrs[x].args[0]];
      const size_t pixels = static_cast<size_t>(t.plane.H) * t.plane.W;
      each_plane(i, [&](int n, int c) {
        c_.isa->load_bytes(from + (static_cast<size_t>(n) * t.channels + 4 * c) * pixels, pixels, channels_in(t, c), t.plane,
                           in.quantized, cells_of(i, n, c));
      });
      return;
    }
    each_plane(i, [&](int n, int c) {
      c_.isa->quantize(plane(x, n, 4 * c), buffer(x).cells, channels_in(t, c), cells(i), in.quantized, cells_of(i, n, c));
    });
  }

  void dequantize(int i, const Instr& in) {
    const int x = in.args[0];
    each_plane(x, [&](int n, int c) {
      c_.isa->dequantize(cells_of(x, n, c), cells(i), quantized(x), plane(i, n, 4 * c), buffer(i).cells,
                         channels_in(plan_.tensors[i], c));
    });
  }

  void store_bytes(int x, size_t pixels, float* to) {
    const TensorPlan& t = plan_.tensors[x];
    each_plane(x, [&](int n, int c) {
      c_.isa->store_bytes(cells_of(x, n, c), t.plane, quantized(x),
                          to + (static_cast<size_t>(n) * t.channels + 4 * c) * pixels, pixels, channels_in(t, c));
    });
  }

  void add_bytes(int i, const Instr& in) {
    const Requantize requantize = requantize_of(c_.program, in);
    each_plane(i, [&](int n, int c) {
      const uint32_t* const y = in.op == Op::kQAdd ? cells_of(in.args[1], n, c) : nullptr;
      c_.isa->add_bytes(cells_of(in.args[0], n, c), y, cells(i), requantize, cells_of(i, n, c));
    });
  }

  const Compiled& c_;
  const std::vector<const float*>& inputs_;
  Workspace& workspace_;
  std::atomic<int>& threads_;
};

}  // namespace

void execute(const Compiled& c, const Plan& plan, const std::vector<const float*>& inputs,
             const std::vector<float*>& outputs, Parallel& parallel, Workspace& workspace, std::atomic<int>& threads,
             Profile& profile) {
  Runner runner(c, plan, inputs, parallel, workspace, threads);
  const size_t instructions = c.program.instrs.size();
  for (size_t i = 0; i < instructions; ++i) profile.time(i, [&] { runner.run(static_cast<int>(i)); });
  profile.time(instructions, [&] {
    for (size_t i = 0; i < outputs.size(); ++i) runner.store(c.program.outputs[i], outputs[i]);
  });
  profile.count_call();
}

}  // namespace lth
