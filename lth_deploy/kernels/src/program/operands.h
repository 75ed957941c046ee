// The parts of a line that several instructions share: windows, activations, what is made.
#pragma once

#include "program/fields.h"
#include "program/program.h"

namespace lth {

// kernel=, stride=, pads=, dilation=
Window read_window(Fields& fields);

// act=
Act read_act(Fields& fields);

// out=u8:SCALE:ZERO, and where `floats` out=f32 as well: whether there are bytes.
bool read_out(Fields& fields, bool floats, Quantized& quantized);

// linear=half_pixel or linear=asymmetric
Resampling read_linear(Fields& fields);

// A coding, and where it has them its blocks.
void read_coding(Fields& fields, WeightDecl& decl);

ValueType read_value_type(Fields& fields);

}  // namespace lth
