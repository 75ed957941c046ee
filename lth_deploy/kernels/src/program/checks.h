// What the lines of a program must keep to beyond their grammar: dimensions, channels, types, rows and planes, uses.
#pragma once

#include "program/fields.h"
#include "program/program.h"

namespace lth {

// Number of elements of a weight. Throws Error: number of dimensions, or too many elements.
int64_t check_weight(const Fields& line, const WeightDecl& decl);

// Padding lies within the window.
void check_window(const Fields& line, const Window& window);

// Sets `channels`, `rows` and the type of `instr` from the arguments, which are in range, and checks that the operator can
// take them.
void check_instr(const Fields& line, const Program& program, Instr& instr);

// Rows are given out as rows, planes as planes, and each tensor once.
void check_output(const Fields& line, const Program& program, const Output& output);

// Everything that is declared or made is used, every input is loaded once, and there is an output. Throws Error.
void check_uses(const Program& program);

// ---- what several operators check

// Throws Error where the tensor has other channels.
void expect_channels(const Fields& line, const Program& program, int tensor, int channels);

// Throws Error where the tensor is float32 instead of quantized, or the other way round.
void expect_quantized(const Fields& line, const Program& program, int tensor, bool quantized);

// Throws Error where a weight has other dimensions.
void expect_dims(const Fields& line, const char* what, const std::vector<int64_t>& found,
                 const std::vector<int64_t>& wanted);

// The number of channels, or Error where there are too many.
int checked_channels(const Fields& line, int64_t channels);

// Types of the weight, the bias and the scales of a convolution, and dimensions of the last two.
void check_constant_types(const Fields& line, const Program& program, const Instr& instr);

// Throws Error unless a constant is of f32 or f16.
void expect_real(const Fields& line, const WeightDecl& decl);

// Throws Error unless a constant has a real for each channel: as [C], or with dimensions of 1 around it as it multiplies
// a tensor.
void expect_channel_values(const Fields& line, const WeightDecl& decl, int channels);

// Four channels of a quantized tensor lie together.
inline bool whole_cells(int channels) { return channels % 4 == 0; }

}  // namespace lth
