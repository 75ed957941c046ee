// Activations of lines, and of the accumulators of a tile.
// Requires vectors.inl.

// exp(x) for |x| <= 88 to 2 units in the last place: 2^n times a polynomial on [-ln2 / 2, ln2 / 2].
inline F exponential(F x) {
  x = smaller(larger(x, broadcast(-87.f)), broadcast(88.f));
  const F n = (x * broadcast(1.44269504f) + broadcast(12582912.f)) - broadcast(12582912.f);
  const F r = (x - n * broadcast(0.693359375f)) - n * broadcast(-2.12194440e-4f);
  F p = broadcast(1.9875691500e-4f);
  p = p * r + broadcast(1.3981999507e-3f);
  p = p * r + broadcast(8.3334519073e-3f);
  p = p * r + broadcast(4.1665795894e-2f);
  p = p * r + broadcast(1.6666665459e-1f);
  p = p * r + broadcast(5.0000001201e-1f);
  p = p * (r * r) + r + broadcast(1.f);
  const I exponent = (__builtin_convertvector(n, I) + 127) << 23;
  return p * reinterpret_cast<F>(exponent);
}

// 1 + exp(-x), to 4 * 2^-24 * (1 + |x|) of exp(-x): 2^f times 2^n, where n + f = -x * log2(e). The remainder f costs no second
// multiplication, which a relative error that does not grow with |x| would take. Sigmoids and their kin divide by it.
#if LTH_LANES == 16 && defined(__AVX512DQ__)
inline F logistic_divisor(F x) {
  const F y = x * broadcast(-1.44269504f);
  const F f = (F)_mm512_reduce_ps((__m512)y, 9);  // y - floor(y)
  F p = broadcast(1.8775767e-3f);
  p = p * f + broadcast(8.98934e-3f);
  p = p * f + broadcast(5.5826318e-2f);
  p = p * f + broadcast(2.4015361e-1f);
  p = p * f + broadcast(6.931531e-1f);
  p = p * f + broadcast(1.f);
  return broadcast(1.f) + (F)_mm512_scalef_ps((__m512)p, (__m512)y);  // by 2^floor(y), which overflows to infinity
}
#else
inline F logistic_divisor(F x) {
  const F y = smaller(larger(x * broadcast(-1.44269504f), broadcast(-126.f)), broadcast(126.f));
  const F shifted = y + broadcast(12582912.f), f = y - (shifted - broadcast(12582912.f));
  F p = broadcast(1.3276472e-3f);
  p = p * f + broadcast(9.675541e-3f);
  p = p * f + broadcast(5.550713e-2f);
  p = p * f + broadcast(2.402212e-1f);
  p = p * f + broadcast(6.9314694e-1f);
  p = p * f + broadcast(1.f);
  const I exponent = reinterpret_cast<I>(shifted) << 23;  // its low bits are n
  return broadcast(1.f) + reinterpret_cast<F>(reinterpret_cast<I>(p) + exponent);
}
#endif

inline F silu(F x, const Finish&) { return x / logistic_divisor(x); }

inline F hard_swish(F x, const Finish&) {
  return x * smaller(larger(x * broadcast(1.f / 6.f) + broadcast(.5f), F{}), broadcast(1.f));
}

// x / 2 * (1 + erf(x / sqrt(2))). The absolute error is below 3 * 2^-23 * max(|x|, 1). erf(z) is z * p(z^2) / q(z^2), fitted
// to 1.7e-8 on [0, 3.92]; beyond, float32 rounds it to 1. Not inline, since it is long and seldom used.
__attribute__((noinline)) F gelu(F x, const Finish&) {
  const I bits = reinterpret_cast<I>(x), sign = bits & broadcast_cell(0x80000000u);
  const F z = reinterpret_cast<F>(bits & broadcast_cell(0x7fffffffu)) * broadcast(.707106781f);
  const F t = smaller(z, broadcast(3.92f)), s = t * t;
  F p = broadcast(2.02699789e-6f);
  p = p * s + broadcast(2.87509174e-4f);
  p = p * s + broadcast(3.88446357e-3f);
  p = p * s + broadcast(5.31086549e-2f);
  p = p * s + broadcast(1.93184108e-1f);
  p = p * s + broadcast(1.12837899f);
  F q = broadcast(3.79924095e-5f);
  q = q * s + broadcast(1.19142001e-3f);
  q = q * s + broadcast(1.52046913e-2f);
  q = q * s + broadcast(1.15251593e-1f);
  q = q * s + broadcast(5.04536569e-1f);
  q = q * s + broadcast(1.f);
  const F erf = z < broadcast(3.92f) ? t * p / q : broadcast(1.f);
  return x * broadcast(.5f) * (broadcast(1.f) + reinterpret_cast<F>(reinterpret_cast<I>(erf) | sign));
}

// x / 2 * (1 + tanh(u)) = x / (1 + exp(-2 u)), where u = sqrt(2 / pi) * (x + 0.044715 x^3). The absolute error is below
// 3 * 2^-23 * max(|x|, 1).
__attribute__((noinline)) F gelu_tanh(F x, const Finish&) {
  return x / logistic_divisor(x * (broadcast(1.59576912f) + x * x * broadcast(.0713548163f)));
}

// 1 / (1 + exp(-x)). The absolute error is below 2^-22.
inline F sigmoid(F x, const Finish&) { return broadcast(1.f) / logistic_divisor(x); }

inline F hard_sigmoid(F x, const Finish& f) {
  return smaller(larger(x * broadcast(f.a) + broadcast(f.b), F{}), broadcast(1.f));
}

// 1 - 2 / (exp(2 x) + 1). The absolute error is below 2^-22.
inline F hyperbolic_tangent(F x, const Finish&) {
  return broadcast(1.f) - broadcast(2.f) / (exponential(x + x) + broadcast(1.f));
}

// As the square of that of half of x, which overflows to infinity and not before, and comes close to zero.
inline F whole_exponential(F x, const Finish&) {
  const F root = exponential(x * broadcast(.5f));
  return root * root;
}

// x * tanh(log(1 + exp(x))) = x * n / (n + 2), where n = exp(x) * (exp(x) + 2). Beyond 20 float32 rounds the quotient to 1.
inline F mish(F x, const Finish&) {
  const F e = exponential(smaller(x, broadcast(20.f))), n = e * (e + broadcast(2.f));
  return x * (n / (n + broadcast(2.f)));
}

inline F elu(F x, const Finish& f) {
  return x > F{} ? x : broadcast(f.a) * (exponential(smaller(x, F{})) - broadcast(1.f));
}

inline F linear(F x, const Finish& f) { return x * broadcast(f.a) + broadcast(f.b); }

inline F relu_linear(F x, const Finish& f) { return larger(x, F{}) * broadcast(f.a) + broadcast(f.b); }

inline F quotient(F x, const Finish& f) { return x / broadcast(f.a); }

inline F activate(F x, const Finish& f) {
  switch (f.epilogue) {
    case Epilogue::kNone: return x;
    case Epilogue::kClamp: return smaller(larger(x, broadcast(f.a)), broadcast(f.b));
    case Epilogue::kLeaky: return x > F{} ? x : x * broadcast(f.a);
#define LTH_FUNCTION(kind, form, since, function, slope) \
  case Epilogue::k##kind: return function(x, f);
      LTH_SECOND_PASS_ACTIVATIONS(LTH_FUNCTION)
#undef LTH_FUNCTION
  }
  return x;
}

// loop(act), where act(x) is `activate`: which one is chosen once, not for each line.
template <class Loop>
inline __attribute__((always_inline)) void with_activation(const Finish& f, const Loop& loop) {
  switch (f.epilogue) {
    case Epilogue::kNone: return loop([](F x) { return x; });
    case Epilogue::kClamp: return loop([&](F x) { return smaller(larger(x, broadcast(f.a)), broadcast(f.b)); });
    case Epilogue::kLeaky: return loop([&](F x) { return x > F{} ? x : x * broadcast(f.a); });
#define LTH_FUNCTION(kind, form, since, function, slope) \
  case Epilogue::k##kind: return loop([&](F x) { return function(x, f); });
      LTH_SECOND_PASS_ACTIVATIONS(LTH_FUNCTION)
#undef LTH_FUNCTION
  }
}

// Those that take more registers than accumulators leave free.
inline bool needs_second_pass(const Finish& f) { return f.epilogue > Epilogue::kHardSwish; }

// The epilogues that fit beside N accumulators in registers.
template <int N>
inline __attribute__((always_inline)) void finish_in_registers(F (&acc)[N], const Finish& f) {
  if (f.epilogue == Epilogue::kClamp) {
    const F low = broadcast(f.a), high = broadcast(f.b);
#pragma GCC unroll 32
    for (int i = 0; i < N; ++i) acc[i] = smaller(larger(acc[i], low), high);
  } else if (f.epilogue == Epilogue::kLeaky) {
    const F slope = broadcast(f.a);
#pragma GCC unroll 32
    for (int i = 0; i < N; ++i) acc[i] = acc[i] > F{} ? acc[i] : acc[i] * slope;
  } else if (f.epilogue == Epilogue::kReluLinear) {
#pragma GCC unroll 32
    for (int i = 0; i < N; ++i) acc[i] = relu_linear(acc[i], f);
  } else if (f.epilogue == Epilogue::kHardSwish) {
#pragma GCC unroll 32
    for (int i = 0; i < N; ++i) acc[i] = hard_swish(acc[i], f);
  }
}
