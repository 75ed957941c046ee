#include "execute/execute.h"

#include "execute/call.h"
#include "ops/op.h"

namespace lth {
namespace {

void run(Call& call, int i) {
  const Instr& in = call.instr(i);
  const auto f = def_of(in).run;
  if (f != nullptr && !call.compiled.fused_io[i] && !call.plan.empty[i]) f(call, i, in);
}

// A dequantize that is an output, and nothing else, writes it itself.
void store_quantized(Call& call, int x, float* to) {
  const size_t pixels = call.pixels(x);
  const TensorPlan& t = call.tensor(x);
  call.each_plane(x, [&](int n, int c) {
    call.isa.store_quantized(call.cells_of(x, n, c), t.plane, call.quantization(x),
                             to + (static_cast<size_t>(n) * t.channels + 4 * c) * pixels, pixels, call.channels_in(x, c));
  });
}

void store(Call& call, const Output& output, float* to) {
  const int i = output.tensor;
  const TensorPlan& t = call.tensor(i);
  if (output.rows) {
    call.each_group(t.channels, [&](int first, int count) {
      call.isa.store_rows(call.plane(i, 0, first), static_cast<int>(call.plan.rows), t.channels, first, count, t.plane,
                          call.buffer(i).cells, to);
    });
    return;
  }
  if (call.compiled.fused_io[i]) return store_quantized(call, call.instr(i).args[0], to);
  const size_t pixels = call.pixels(i);
  call.each_plane(i, [&](int n, int c) {
    call.isa.store(call.plane(i, n, c), t.plane, to + (static_cast<size_t>(n) * t.channels + c) * pixels);
  });
}

}  // namespace

void run_channel_values(Call& call, int i, const Instr& in) {
  const Finish finish = finish_of(in.act);
  const ChannelValues& of = call.compiled.channel_values[i];
  call.each_plane(i, [&](int n, int c) {
    call.isa.scale(call.plane(in.args[0], n, c), of.factor[c], of.shift[c], call.cells(i), finish, call.plane(i, n, c));
  });
}

void execute(const Compiled& c, const Plan& plan, const std::vector<const float*>& inputs,
             const std::vector<float*>& outputs, Parallel& parallel, Workspace& workspace, std::atomic<int>& threads,
             Profile& profile) {
  Call call(c, plan, inputs, outputs, parallel, workspace, threads);
  const size_t instructions = c.program.instrs.size();
  for (size_t i = 0; i < instructions; ++i) profile.time(i, [&] { run(call, static_cast<int>(i)); });
  profile.time(instructions, [&] {
    for (size_t i = 0; i < outputs.size(); ++i) {
      const int tensor = c.program.outputs[i].tensor;
      if (!plan.empty[tensor] && c.writes_output[tensor] < 0) store(call, c.program.outputs[i], outputs[i]);
    }
  });
  profile.count_call();
}

}  // namespace lth
