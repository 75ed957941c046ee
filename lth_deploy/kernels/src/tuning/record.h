// What differs from one processor to the next and decides which blocks of inputs and which tiles are the fastest. It is
// measured once in a process (measure.h), or fixed by the environment variable LTH_TUNING. Wrong values cost speed only:
// no choice that follows from them changes a bit of a result.
#pragma once

#include <optional>
#include <string>

#include "isa/isa.h"

namespace lth {

// As text: `fma=2 single=0.7 pair=0.6 int8_single=0.5 int8_pair=0.7`, in any order, each at most once; fma must be there.
// `processor=NAME` and `isa=NAME`, if given, say what the record belongs to.
struct TuningRecord {
  int fma = 1;  // vector multiply-adds that start in a cycle
  // Time to load a line that the L1 cache lost, in multiply-adds of one line; where it is not given, that of the kernels'
  // own tuning.
  std::optional<double> single, pair, int8_single, int8_pair;
};

constexpr int kMostFma = 4;
constexpr double kMostMiss = 2;

// Reads the text form. Throws Error where it does not parse, has impossible values, or belongs to another processor or
// instruction set.
TuningRecord parse_tuning(const std::string& text, const std::string& isa);

// The text form, with the processor of this machine and the instruction set.
std::string described(const TuningRecord&, const std::string& isa);

// The processor of this machine, without spaces: what it says of itself, true or not.
std::string processor_name();

}  // namespace lth
