// What the lines of a program must keep to beyond their grammar: dimensions, channels, rows and planes, uses.
#pragma once

#include "program/fields.h"
#include "program/program.h"

namespace lth {

// Number of elements of a weight. Throws Error: number of dimensions, or too many elements.
int64_t check_weight(const Fields& line, const WeightDecl& decl);

// Padding lies within the window.
void check_window(const Fields& line, const Window& window);

// Sets `channels` and `rows` of `instr` from the arguments, which are in range, and checks that the operator can take
// them.
void check_instr(const Fields& line, const Program& program, Instr& instr);

// Rows are given out as rows, planes as planes, and each tensor once.
void check_output(const Fields& line, const Program& program, const Output& output);

// Everything that is declared or made is used, every input is loaded once, and there is an output.
void check_uses(const Program& program);

}  // namespace lth
