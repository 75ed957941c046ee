// Where tensors lie: buffers that are alive together do not overlap.
#include <algorithm>
#include <limits>
#include <map>

#include "ops/op.h"
#include "plan/plan.h"

namespace lth {
namespace {

constexpr size_t kPhaseBytes = size_t{1} << 20;
constexpr size_t kMaxPhaseCells = std::numeric_limits<int32_t>::max();

bool is_matrix_input(const Instr& in) { return in.rows && def_of(in).takes == Takes::kInput; }

// Gives every tensor a place; parts of a concat are made in place where nothing prevents it.
class Allocator {
 public:
  Allocator(const Compiled& c, Plan& plan) : c_(c), plan_(plan) {}

  void run() {
    const auto& instrs = c_.program.instrs;
    place_concats();
    leave_matrices();
    find_readers();
    for (size_t i = 0; i < instrs.size(); ++i) {
      TensorPlan& t = plan_.tensors[i];
      if (rounds(i)) round(static_cast<int>(i));
      for (int a : read_as_floats(i)) live(plan_.tensors[a].view.buffer, static_cast<int>(i));
      if (c_.fused_io[i] || c_.writes_output[i] >= 0 || t.in_place) continue;
      if (makes_rounded(i)) t.rounded = {new_buffer(t, (t.channels + 1) / 2, static_cast<int>(i)), 0};
      if (makes_rounded(i) && !floats_read_[i]) continue;
      if (def_of(instrs[i]).placement == Placement::kView) {
        const View& from = plan_.tensors[instrs[i].args[0]].view;
        t.view = {from.buffer, from.plane + (instrs[i].quantized ? instrs[i].from / 4 : instrs[i].from)};
      } else if (t.view.buffer < 0) {
        t.view = {new_buffer(t, t.planes, static_cast<int>(i)), 0};
      }
      live(t.view.buffer, static_cast<int>(i));
      if (def_of(instrs[i]).transposed) phases(static_cast<int>(i));
    }
    for (const Output& o : c_.program.outputs) {
      const int stored = c_.fused_io[o.tensor] ? instrs[o.tensor].args[0] : o.tensor;
      live(plan_.tensors[stored].view.buffer, static_cast<int>(instrs.size()));
    }
    overwrite_residuals();
    arrange();
  }

 private:
  // Whether a layer reads its input rounded to bf16.
  bool rounds(size_t i) const { return c_.conv_of[i] >= 0 && c_.convs[c_.conv_of[i]].is_bf16; }

  // Whether an instruction makes its result rounded too, or alone: matrix tiles do, where layers of bf16 weights read it.
  bool makes_rounded(size_t i) const {
    return rounds(i) && c_.convs[c_.conv_of[i]].dense.form != DenseForm::kNone && rounded_read_[i];
  }

  // Where the input is not rounded by what made it, the first layer does it for all.
  void round(int i) {
    TensorPlan& x = plan_.tensors[c_.program.instrs[i].args[0]];
    if (x.rounded.buffer < 0) {
      x.rounded = {new_buffer(x, (x.channels + 1) / 2, i), 0};
      plan_.instrs[i].rounds = true;
    }
    live(x.rounded.buffer, i);
  }

  // The tensors whose values an instruction reads as they are, while they are planned in order.
  std::vector<int> read_as_floats(size_t i) const {
    std::vector<int> read = arguments_of(c_.program.instrs[i]);
    if (def_of(c_.program.instrs[i]).second_is_shape) read.pop_back();
    if (rounds(i) && !plan_.instrs[i].rounds) read.erase(read.begin());
    return read;
  }

  void find_readers() {
    floats_read_.assign(c_.program.instrs.size(), false);
    rounded_read_ = floats_read_;
    for (size_t i = 0; i < c_.program.instrs.size(); ++i) {
      for (int a : read_as_floats(i)) floats_read_[a] = true;
      if (rounds(i)) rounded_read_[c_.program.instrs[i].args[0]] = true;
    }
    for (const Output& o : c_.program.outputs) floats_read_[o.tensor] = true;
  }

  int new_buffer(const TensorPlan& t, int planes, int at) {
    Buffer b;
    b.planes = planes;
    // A power of two between channels would put them all into the same few sets of the L1 cache.
    const size_t lines = static_cast<size_t>(lines_of(t.plane));
    b.cells = (lines % 32 == 0 ? lines + 1 : lines) * c_.isa->lanes;
    b.bytes = b.cells * 4 * static_cast<size_t>(planes) * static_cast<size_t>(t.n);
    b.first = b.last = at;
    plan_.buffers.push_back(b);
    return static_cast<int>(plan_.buffers.size()) - 1;
  }

  void live(int buffer, int at) {
    if (buffer < 0) return;
    plan_.buffers[buffer].first = std::min(plan_.buffers[buffer].first, at);
    plan_.buffers[buffer].last = std::max(plan_.buffers[buffer].last, at);
  }

  void place_concats() {
    const auto& instrs = c_.program.instrs;
    for (size_t i = 0; i < instrs.size(); ++i) {
      if (def_of(instrs[i]).placement != Placement::kAssembled) continue;
      TensorPlan& t = plan_.tensors[i];
      if (t.view.buffer < 0) t.view = {new_buffer(t, t.planes, static_cast<int>(i)), 0};
      int plane = t.view.plane;
      for (int a : instrs[i].args) {
        TensorPlan& part = plan_.tensors[a];
        const bool own = def_of(instrs[a]).placement != Placement::kView;
        const bool free = part.view.buffer < 0 && own && same_plane(part.plane, t.plane);
        if (free) part.view = {t.view.buffer, plane};
        plane += part.planes;
      }
    }
  }

  // A matrix that one convolution reads is changed to lines tile by tile: a copy of all of it would go through memory.
  void leave_matrices() {
    const auto& instrs = c_.program.instrs;
    std::vector<int> uses(instrs.size(), 0), sources(instrs.size(), 0);
    for (size_t i = 0; i < instrs.size(); ++i) {
      const Instr& in = instrs[i];
      for (int a : arguments_of(in)) ++uses[a];
      if ((in.op == Op::kConv || in.op == Op::kMatMul) && !rounds(i)) ++sources[in.args[0]];
    }
    for (const Output& o : c_.program.outputs) ++uses[o.tensor];
    for (size_t i = 0; i < instrs.size(); ++i) {
      plan_.tensors[i].in_place = is_matrix_input(instrs[i]) && uses[i] == 1 && sources[i] == 1;
    }
  }

  // Of so many images that they stay in a cache until they are interleaved.
  void phases(int i) {
    const Instr& in = c_.program.instrs[i];
    TensorPlan x = plan_.tensors[in.args[0]];
    const int rows = c_.convs[c_.conv_of[i]].out_channels, all = x.n;
    x.n = 1;
    const int scratch = new_buffer(x, in.quantized ? rows / 4 : rows, i);
    Buffer& b = plan_.buffers[scratch];
    if (b.bytes / 4 > kMaxPhaseCells) {
      throw Error("region: t" + std::to_string(i) + " has more than 2^31 - 1 elements before its phases are interleaved");
    }
    plan_.instrs[i].scratch = {scratch, 0};
    plan_.instrs[i].images = static_cast<int>(std::clamp<size_t>(kPhaseBytes / b.bytes, 1, static_cast<size_t>(all)));
    b.bytes *= static_cast<size_t>(plan_.instrs[i].images);
  }

  // Tensors of which the instruction reads just the line that it writes next.
  static std::vector<int> read_in_step(const Instr& in) {
    if (def_of(in).writes_in_step) return in.args;
    return in.add >= 0 ? std::vector<int>{in.add} : std::vector<int>();
  }

  // What is read in step and never again, such as most residuals, makes room for the result: its lines are in a cache
  // by then, where those of a buffer of its own would come from memory.
  void overwrite_residuals() {
    const auto& instrs = c_.program.instrs;
    for (size_t i = 0; i < instrs.size(); ++i) {
      for (int a : read_in_step(instrs[i])) {
        if (round_over(static_cast<int>(i), a)) break;
        if (!can_overwrite(static_cast<int>(i), a)) continue;
        move(plan_.tensors[i].view.buffer, plan_.tensors[a].view.buffer);
        break;
      }
    }
  }

  // Both have the same size, neither lies beside other tensors of a concat or slice, and no window reaches for lines that are overwritten already.
  bool can_overwrite(int i, int residual) const {
    const Instr& in = c_.program.instrs[i];
    const int planes = plan_.tensors[i].planes;
    const int made = plan_.tensors[i].view.buffer, place = plan_.tensors[residual].view.buffer;
    if (made < 0 || place < 0) return false;
    const Buffer &own = plan_.buffers[made], &old = plan_.buffers[place];
    const bool read_out_of_step = in.add >= 0 && plan_.tensors[in.args[0]].view.buffer == place;
    const bool same_size = own.planes == planes && old.planes == planes && own.bytes == old.bytes;
    return same_size && old.last == i && !read_out_of_step;
  }

  // A result that is made of cells of two channels alone takes the place of every second channel of the residual, so that
  // they too are written where nobody reads any more.
  bool round_over(int i, int residual) {
    TensorPlan& t = plan_.tensors[i];
    const int place = plan_.tensors[residual].view.buffer;
    if (t.view.buffer >= 0 || !makes_rounded(i) || place < 0) return false;
    Buffer &own = plan_.buffers[t.rounded.buffer], &old = plan_.buffers[place];
    const bool read_out_of_step = plan_.tensors[c_.program.instrs[i].args[0]].rounded.buffer == place;
    if (old.planes != t.planes || old.cells != own.cells || plan_.tensors[residual].n != t.n || old.last != i || read_out_of_step) return false;
    old.last = own.last;
    own.bytes = 0;
    t.rounded = {place, 0, 2};
    return true;
  }

  // All that lies in one buffer goes into another of the same size; the first is needed no more.
  void move(int from, int to) {
    for (TensorPlan& t : plan_.tensors) {
      if (t.view.buffer == from) t.view.buffer = to;
    }
    plan_.buffers[to].last = plan_.buffers[from].last;
    plan_.buffers[from].bytes = 0;
  }

  // First fit, in order of size: buffers that are alive together do not overlap.
  void arrange() {
    std::vector<int> order(plan_.buffers.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return plan_.buffers[a].bytes > plan_.buffers[b].bytes; });
    std::vector<int> placed;
    for (int o : order) {
      Buffer& b = plan_.buffers[o];
      std::map<size_t, size_t> taken;  // begin -> end
      for (int p : placed) {
        const Buffer& q = plan_.buffers[p];
        if (q.first <= b.last && b.first <= q.last) taken[q.offset] = std::max(taken[q.offset], q.offset + q.bytes);
      }
      size_t at = 0;
      for (const auto& [begin, end] : taken) {
        if (at + b.bytes <= begin) break;
        at = std::max(at, (end + 63) / 64 * 64);
      }
      b.offset = at;
      plan_.arena_bytes = std::max(plan_.arena_bytes, at + b.bytes);
      placed.push_back(o);
    }
  }

  const Compiled& c_;
  Plan& plan_;
  std::vector<bool> floats_read_, rounded_read_;  // of each tensor
};

}  // namespace

void place_tensors(const Compiled& c, Plan& plan) { Allocator(c, plan).run(); }

}  // namespace lth
