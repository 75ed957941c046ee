#include "execute/layer_call.h"

#include "ops/op.h"

namespace lth {

ConvCall layer_call(const Call& call, int i, const Instr& in) {
  ConvCall conv;
  const int x = in.args[0];
  conv.conv = &call.compiled.convs[call.compiled.conv_of[i]];
  conv.isa = &call.isa;
  conv.tiles = &call.plan.instrs[i].tiles;
  conv.map = call.plan.instrs[i].map.view();
  conv.window = in.window;
  conv.n = call.tensor(i).n;
  const TensorPlan& source = call.tensor(x);
  conv.source_plane = source.plane;
  conv.out_plane = call.tensor(i).plane;
  if (source.in_place) {
    conv.matrix = {call.loaded(x), static_cast<int>(call.plan.rows), source.channels, source.plane};
  } else if (conv.conv->is_bf16) {
    conv.source = call.rounded(x);
  } else {
    conv.source = call.planes(x);
  }
  conv.bias = conv.conv->bias.data();
  conv.finish = finish_of(in.act);
  return conv;
}

void run_layer(Call& call, int i, const Instr& in, ConvCall conv) {
  Requantize requantize;
  if (def_of(in).int8_weights) {
    const Int8Rows& rows = call.compiled.int8_rows[i];
    requantize = rows.requantize;
    requantize.multiplier = rows.multiplier.data();
    conv.bias = rows.bias.data();
    conv.requantize = &requantize;
    conv.fill = 0x01010101u * static_cast<uint32_t>(call.quantization(in.args[0]).zero_point);
    conv.finish = {};
  }
  run_conv(conv, call.parallel, call.workspace, call.threads);
}

}  // namespace lth
