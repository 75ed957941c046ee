// A compiled region: immutable after creation, any number of calls at once.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "program/program.h"
#include "program/weights.h"

namespace lth {

// Runs fn(context, i) for every i in [0, n), on whatever threads there are; returns when all are done.
class Parallel {
 public:
  virtual ~Parallel() = default;
  virtual void run(int n, void (*fn)(void* context, int i), void* context) = 0;
};

struct Shape {
  int rank = 4;                    // 4: N, C, H, W; 2: N, C and 3: N, T, C (rows)
  std::array<int64_t, 4> dims{1, 1, 1, 1};
};

class Region {
 public:
  virtual ~Region() = default;
  // Shapes of all outputs; throws Error where an input does not fit the program.
  virtual std::vector<Shape> output_shapes(const std::vector<Shape>& inputs) const = 0;
  // inputs, outputs: contiguous float32 tensors of these shapes. Re-entrant. Throws Error as output_shapes.
  virtual void run(const std::vector<Shape>& shapes, const std::vector<const float*>& inputs,
                   const std::vector<float*>& outputs, Parallel& parallel) const = 0;
  // Bytes of weights and indexes in the form that the kernels read.
  virtual size_t weight_bytes() const = 0;
};

// Checks weights against the program and packs them for the instruction set. `weights` holds one entry for each of
// program.weights. isa: "" for the best that this machine has, or a name of `isa_names()`. tuning: "" to measure it, or a
// record (tuning/record.h). Throws Error.
std::unique_ptr<Region> make_region(Program program, std::vector<Weight> weights, const std::string& isa,
                                    const std::string& tuning);

// Instruction sets that this machine can run, best first: of "amx", "avx512vnni", "avx512", "avxvnni", "avx2", "neoni8mm",
// "neondot", "neon", "portable", and for tests "amx_emulated". Those of one family differ in int8 convolutions only.
std::vector<std::string> isa_names();

}  // namespace lth
