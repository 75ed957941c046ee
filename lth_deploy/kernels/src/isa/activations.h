// The activations of a program. One list, from which follow: what a program may name, what a kernel does with finished
// accumulators, and the functions that the instruction sets and the oracle of the tests must have. Plain data: see isa.h.
#pragma once

namespace lth {

// Activations that are computed while the accumulators of a convolution are in registers.
// X(kind, its form in a program: a name and numbers, first version of the program that has it)
#define LTH_REGISTER_ACTIVATIONS(X) \
  X(None, "none", 1)                \
  X(Relu, "relu", 1)                \
  X(Leaky, "leaky:SLOPE", 1)        \
  X(Clip, "clip:LOW:HIGH", 1)

// Activations of which most take more registers than the accumulators leave free: convolutions of float32 apply all but the
// first two, up to hardswish, in a second pass over the lines of a row. They are functions of the real value, also between quantized tensors, and
// find their numbers as a and b of what they are given.
// X(kind, its form in a program, first version of the program, function in isa/generic/activations.inl and in the oracle,
//   bound of its slope, in which `act` has the numbers)
#define LTH_SECOND_PASS_ACTIVATIONS(X)                                                      \
  X(ReluLinear, "relu_linear:FACTOR:SHIFT", 6, relu_linear, magnitude(act.a))               \
  X(HardSwish, "hardswish", 1, hard_swish, 1.5)                                             \
  X(Silu, "silu", 1, silu, 1.5)                                                             \
  X(Gelu, "gelu", 2, gelu, 1.13)                                                            \
  X(GeluTanh, "gelu_tanh", 2, gelu_tanh, 1.13)                                              \
  X(Sigmoid, "sigmoid", 3, sigmoid, .25)                                                    \
  X(HardSigmoid, "hardsigmoid:ALPHA:BETA", 3, hard_sigmoid, magnitude(act.a))               \
  X(Tanh, "tanh", 3, hyperbolic_tangent, 1.)                                                \
  X(Exp, "exp", 3, whole_exponential, 3e38)                                                 \
  X(Mish, "mish", 3, mish, 1.1)                                                             \
  X(Elu, "elu:ALPHA", 3, elu, std::max(1., magnitude(act.a)))                               \
  X(Linear, "linear:FACTOR:SHIFT", 3, linear, magnitude(act.a))                             \
  X(Quotient, "quotient:DIVISOR", 3, quotient, 1. / magnitude(act.a))

#define LTH_KIND(kind, ...) k##kind,
enum class ActKind { LTH_REGISTER_ACTIVATIONS(LTH_KIND) LTH_SECOND_PASS_ACTIVATIONS(LTH_KIND) };

// What happens to a finished accumulator before it is stored.
enum class Epilogue { kNone, kClamp, kLeaky, LTH_SECOND_PASS_ACTIVATIONS(LTH_KIND) };
#undef LTH_KIND

struct Finish {
  Epilogue epilogue = Epilogue::kNone;
  float a = 0.f, b = 0.f;  // bounds of kClamp, slope of kLeaky, numbers of the others
};

}  // namespace lth
