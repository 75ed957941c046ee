// The inner loops: multiply-adds of weight x line over the records of a row, accumulators in registers. T is Float32 or
// Int8.
// Requires activations.inl; the macros LTH_PAIR_ACC and LTH_PREFETCH_DURING_MACS. finish_four_rows is defined in int8_epilogue.inl.

// One base register: Intel splits an FMA whose address has an index into two operations.
#define LTH_IN_REGISTER(p) __asm__("" : "+r"(p))

// No load moves up past this, behind every fourth line: for ARM, GCC schedules before it hands out registers, would
// load the whole tile first and spill accumulators for it. Four keep pairs together, which one instruction loads.
#ifdef __aarch64__
#define LTH_LOAD_NO_FURTHER(line) \
  if ((line) % 4 == 3) __asm__ volatile("" ::: "memory")
#else
#define LTH_LOAD_NO_FURTHER(line) static_cast<void>(line)
#endif

// A line that two multiply-adds read is loaded once: GCC would fold the load into both of them, and processors that start
// two multiply-adds a cycle start two loads at most.
#if defined(__x86_64__) && LTH_LANES == 16 && defined(__AVX512F__)
#define LTH_LOADED_ONCE(line) __asm__("" : "+v"(line))
#elif defined(__x86_64__) && (LTH_LANES == 4 || (LTH_LANES == 8 && defined(__AVX__)))
#define LTH_LOADED_ONCE(line) __asm__("" : "+x"(line))
#else
#define LTH_LOADED_ONCE(line) static_cast<void>(line)
#endif

// Where: says how the lines of the output lie, and how they are finished.
template <int TH, int TW, class Where>
inline __attribute__((always_inline)) void write_out(F (&acc)[TH * TW], const Where& a, float* out, const float* add) {
  if (add != nullptr) {
#pragma GCC unroll 8
    for (int i = 0; i < TH; ++i) {
#pragma GCC unroll 32
      for (int j = 0; j < TW; ++j) {
        acc[i * TW + j] += load_line(add + (static_cast<size_t>(i) * a.out_pitch + j) * kLanes);
      }
    }
  }
  finish_in_registers(acc, a.finish);
#pragma GCC unroll 8
  for (int i = 0; i < TH; ++i) {
#pragma GCC unroll 32
    for (int j = 0; j < TW; ++j) {
      store_line(out + (static_cast<size_t>(i) * a.out_pitch + j) * kLanes, acc[i * TW + j]);
    }
  }
}

// Whether lines are prefetched between multiply-adds. With AVX2 rows are short and tiles fill the L1 cache: there the
// multiply-adds lose more than the copies and stores gain.
#ifdef LTH_PREFETCH_DURING_MACS
constexpr bool kPrefetchDuringMacs = true;
#else
constexpr bool kPrefetchDuringMacs = false;
#endif

// Prefetches the output of a row. The outputs of a large layer are not in a cache, and only a few dozen stores can wait
// for them at a time. A row of a 1x1 layer takes about as long as a cache miss, so it is prefetched two rows ahead. A row
// of a 3x3 layer takes longer: prefetched at the start of its own multiply-adds, its output is there in time; any earlier
// and the L1 cache would lose it again.
template <int TH, int TW>
inline __attribute__((always_inline)) void prefetch_output(const Rows& a, const float* out, const float* add) {
  const bool apart = add != nullptr && add != out;
#pragma GCC unroll 8
  for (int i = 0; i < TH; ++i) {
#pragma GCC unroll 32
    for (int j = 0; j < TW * kLine; j += 64) {
      const size_t at = static_cast<size_t>(i) * a.out_pitch * kLanes + j / 4;
      __builtin_prefetch(out + at, 1);
      if (apart) __builtin_prefetch(add + at, 0);
    }
  }
}

// Prefetches the next tile's lines into the L2 cache, a few with each part of a row. All at once they would delay the
// multiply-adds, so nothing is prefetched where there are too few parts. It goes by whole rows of lines: line by line, the
// index arithmetic costs as much as prefetching saves.
class Prefetcher {
 public:
  Prefetcher(const PrefetchRange& range, int parts)
      : a_(range), share_((range.n_channels * range.n_rows + parts - 1) / parts) {
    if (!kPrefetchDuringMacs || share_ > kMostRows) share_ = 0;
  }

  inline __attribute__((always_inline)) void step() {
    for (int i = 0; i < share_ && channel_ < a_.n_channels; ++i) {
      const size_t line = static_cast<size_t>(a_.first) + static_cast<size_t>(row_) * a_.pitch;
      const uint32_t* const from = a_.source + a_.channels[channel_] * a_.channel_cells + line * kLanes;
      for (int cell = 0; cell < a_.length * kLanes; cell += 16) __builtin_prefetch(from + cell, 0, 2);
      if (++row_ == a_.n_rows) row_ = 0, ++channel_;
    }
  }

 private:
  static constexpr int kMostRows = 2;  // rows of lines
  const PrefetchRange& a_;
  int share_, channel_ = 0, row_ = 0;
};

// Finishes the accumulators of four rows from `row` on.
__attribute__((noinline)) void finish_four_rows(const Rows& a, int row);

// float32 weights times float32 lines.
struct Float32 {
  typedef F Accumulator;
  typedef F Line;
  typedef F Spread;  // a weight, as often as there are lanes
  static constexpr bool kInt8 = false;

  // Not memcpy, for which GCC loads an integer first: one instruction more for every weight on ARM.
  static inline __attribute__((always_inline)) float number(const uint32_t* bits) {
    typedef float Stored __attribute__((may_alias));
    return *reinterpret_cast<const Stored*>(bits);
  }
  static inline __attribute__((always_inline)) Accumulator start(const uint32_t* bias) { return broadcast(number(bias)); }
  static inline __attribute__((always_inline)) Accumulator load(const void* p) { return load_line(p); }
  static inline __attribute__((always_inline)) void store(void* p, Accumulator v) { store_line(p, v); }
  static inline __attribute__((always_inline)) Spread spread(const uint32_t* w) { return broadcast(number(w)); }
  static inline __attribute__((always_inline)) Line line(const void* p) { return load_line(p); }
  static inline __attribute__((always_inline)) void add(Accumulator& sum, Spread w, Line x) { sum += w * x; }

  // Activations that take more registers, of lines that were just stored: they are in the L1 cache, and the multiply-adds of
  // the next row begin meanwhile.
  static __attribute__((noinline)) void finish_stored(float* out, int th, int tw, int pitch, const Finish& f) {
    with_activation(f, [&](auto act) {
      for (int y = 0; y < th; ++y, out += static_cast<size_t>(pitch) * kLanes) {
        for (int x = 0; x < tw; ++x) store_line(out + x * kLanes, act(load_line(out + x * kLanes)));
      }
    });
  }
};

// Rows with records of their own. PITCH: lines in a row of the packed tile. S: stride.
template <class T, int TH, int TW, int PITCH, int S>
__attribute__((noinline)) void single_rows(const Rows& a) {
  const char* const tile = static_cast<const char*>(a.tile);
  const uint16_t* offset = a.offset;
  const uint32_t* value = a.value;
  float* sums = a.scratch;
  Prefetcher prefetcher(a.prefetch, a.rows);
  for (int r = 0; r < a.rows; ++r) {
    prefetcher.step();
    typename T::Accumulator acc[TH * TW];
    if (a.first) {
      const typename T::Accumulator bias = T::start(a.bias + r);
#pragma GCC unroll 32
      for (int i = 0; i < TH * TW; ++i) acc[i] = bias;
    } else {
#pragma GCC unroll 32
      for (int i = 0; i < TH * TW; ++i) acc[i] = T::load(sums + i * kLanes);
    }
    if (!T::kInt8 && a.last && (PITCH == 0 || kPrefetchDuringMacs)) {
      const size_t row = PITCH == 0 ? r + 2 : r;
      prefetch_output<TH, TW>(a, a.out + row * a.out_channel, a.add ? a.add + row * a.add_channel : nullptr);
    }
    const uint16_t* const end = offset + a.count[r];
    for (; offset != end; ++offset, ++value) {
      const typename T::Spread w = T::spread(value);
      const char* p = tile + *offset * size_t{kOffsetUnit};
      LTH_IN_REGISTER(p);
#pragma GCC unroll 8
      for (int i = 0; i < TH; ++i) {
#pragma GCC unroll 32
        for (int j = 0; j < TW; ++j) {
          T::add(acc[i * TW + j], w, T::line(p + (i * PITCH + j) * S * kLine));
          LTH_LOAD_NO_FURTHER(i * TW + j);
        }
      }
    }
    float* to = sums;
    if (a.last) {
      if constexpr (T::kInt8) {
        to = a.four_rows + (r & 3) * TH * TW * kLanes;
      } else {
        float* const out = a.out + r * a.out_channel;
        write_out<TH, TW>(acc, a, out, a.add ? a.add + r * a.add_channel : nullptr);
        if (needs_second_pass(a.finish)) T::finish_stored(out, TH, TW, a.out_pitch, a.finish);
      }
    }
    if (T::kInt8 || !a.last) {
#pragma GCC unroll 32
      for (int i = 0; i < TH * TW; ++i) T::store(to + i * kLanes, acc[i]);
    }
    if (T::kInt8 && a.last && ((r & 3) == 3 || r == a.rows - 1)) finish_four_rows(a, r & ~3);
    sums += TH * TW * kLanes;
  }
}

// TH x TW lines of two rows that share their records; `tile` points at the first of these lines in the packed tile.
template <class T, int TH, int TW, int PITCH, int S>
inline __attribute__((always_inline)) void pair_part(const Rows& a, const char* tile, const uint16_t* offset,
                                                     const uint32_t* value, int n, const uint32_t* bias, float* sums,
                                                     size_t second, float* out, const float* add, bool both,
                                                     float* four_rows) {
  if (kPrefetchDuringMacs && !T::kInt8 && PITCH != 0 && a.last) {
    prefetch_output<TH, TW>(a, out, add);
    if (both) prefetch_output<TH, TW>(a, out + a.out_channel, add ? add + a.add_channel : nullptr);
  }
  typename T::Accumulator one[TH * TW], two[TH * TW];
  if (a.first) {
    const typename T::Accumulator bias_one = T::start(bias), bias_two = T::start(bias + 1);
#pragma GCC unroll 32
    for (int i = 0; i < TH * TW; ++i) one[i] = bias_one, two[i] = bias_two;
  } else {
#pragma GCC unroll 32
    for (int i = 0; i < TH * TW; ++i) one[i] = T::load(sums + i * kLanes), two[i] = T::load(sums + second + i * kLanes);
  }
  for (int k = 0; k < n; ++k) {
    const typename T::Spread w = T::spread(value + 2 * k), v = T::spread(value + 2 * k + 1);
    const char* p = tile + offset[k] * size_t{kOffsetUnit};
    LTH_IN_REGISTER(p);
#pragma GCC unroll 8
    for (int i = 0; i < TH; ++i) {
#pragma GCC unroll 32
      for (int j = 0; j < TW; ++j) {
        typename T::Line x = T::line(p + (i * PITCH + j) * S * kLine);
        LTH_LOADED_ONCE(x);
        T::add(one[i * TW + j], w, x);
        T::add(two[i * TW + j], v, x);
        LTH_LOAD_NO_FURTHER(i * TW + j);
      }
    }
  }
  if constexpr (T::kInt8) {
    sums = a.last ? four_rows : sums;
  } else if (a.last) {
    write_out<TH, TW>(one, a, out, add);
    if (both) write_out<TH, TW>(two, a, out + a.out_channel, add ? add + a.add_channel : nullptr);
    if (needs_second_pass(a.finish)) {
      T::finish_stored(out, TH, TW, a.out_pitch, a.finish);
      if (both) T::finish_stored(out + a.out_channel, TH, TW, a.out_pitch, a.finish);
    }
    return;
  }
#pragma GCC unroll 32
  for (int i = 0; i < TH * TW; ++i) T::store(sums + i * kLanes, one[i]), T::store(sums + second + i * kLanes, two[i]);
}

// Pairs of rows over a tile of any height: the weights of a pair stay in the L1 cache from part to part.
template <class T, int TW, int PITCH, int S>
__attribute__((noinline)) void pair_rows(const Rows& a) {
  constexpr int kPart = LTH_PAIR_ACC / TW > 3 ? 3 : (LTH_PAIR_ACC / TW > 0 ? LTH_PAIR_ACC / TW : 1);
  const uint16_t* offset = a.offset;
  const uint32_t* value = a.value;
  const size_t second = static_cast<size_t>(a.th) * TW * kLanes;
  Prefetcher prefetcher(a.prefetch, a.rows * ((a.th + kPart - 1) / kPart));
  for (int r = 0; r < a.rows; ++r) {
    const int n = a.count[r];
    const bool both = !(a.odd && r == a.rows - 1);
    float* const row = a.scratch + r * 2 * second;
    for (int y = 0; y < a.th;) {
      prefetcher.step();
      const char* const tile = static_cast<const char*>(a.tile) + y * PITCH * S * kLine;
      float* const sums = row + y * TW * kLanes;
      float* const out = a.out + 2 * r * a.out_channel + static_cast<size_t>(y) * a.out_pitch * kLanes;
      const float* const add =
          a.add ? a.add + 2 * r * a.add_channel + static_cast<size_t>(y) * a.out_pitch * kLanes : nullptr;
      const uint32_t* const bias = a.bias + 2 * r;
      float* const four_rows = T::kInt8 ? a.four_rows + (r & 1) * 2 * second + y * TW * kLanes : nullptr;
      const int left = a.th - y;
      if (kPart >= 3 && left >= 3) {
        pair_part<T, kPart >= 3 ? 3 : 1, TW, PITCH, S>(a, tile, offset, value, n, bias, sums, second, out, add, both,
                                                       four_rows);
        y += 3;
      } else if (kPart >= 2 && left >= 2) {
        pair_part<T, kPart >= 2 ? 2 : 1, TW, PITCH, S>(a, tile, offset, value, n, bias, sums, second, out, add, both,
                                                       four_rows);
        y += 2;
      } else {
        pair_part<T, 1, TW, PITCH, S>(a, tile, offset, value, n, bias, sums, second, out, add, both, four_rows);
        y += 1;
      }
    }
    if (T::kInt8 && a.last && ((r & 1) == 1 || r == a.rows - 1)) finish_four_rows(a, 2 * (r & ~1));
    offset += n;
    value += 2 * n;
  }
}

template <class T, int W>
inline __attribute__((always_inline)) int run_parts(const Rows& a, int x, int r, const uint16_t* offset,
                                                    const uint32_t* value, int n, bool both) {
  if (a.tw - x >= W) {
    const size_t second = static_cast<size_t>(a.tw) * kLanes;
    pair_part<T, 1, W, 0, 1>(a, static_cast<const char*>(a.tile) + x * kLine, offset, value, n, a.bias + 2 * r,
                                       a.scratch + r * 2 * second + x * kLanes, second,
                                       a.out + 2 * r * a.out_channel + x * kLanes,
                                       a.add ? a.add + 2 * r * a.add_channel + x * kLanes : nullptr, both,
                             T::kInt8 ? a.four_rows + (r & 1) * 2 * second + x * kLanes : nullptr);
    return x + W;
  }
  if constexpr (W > 1) return run_parts<T, W - 1>(a, x, r, offset, value, n, both);
  return x;
}

// Pairs of rows over a run of lines.
template <class T>
__attribute__((noinline)) void pair_run(const Rows& a) {
  const uint16_t* offset = a.offset;
  const uint32_t* value = a.value;
  Prefetcher prefetcher(a.prefetch, a.rows);
  for (int r = 0; r < a.rows; ++r) {
    prefetcher.step();
    const int n = a.count[r];
    const bool both = !(a.odd && r == a.rows - 1);
    if (!T::kInt8 && a.last) {
      for (int x = 0; x < a.tw * kLanes; x += 16) {
        const size_t at = (2 * r + 2) * a.out_channel + x;
        __builtin_prefetch(a.out + at, 1);
        __builtin_prefetch(a.out + at + a.out_channel, 1);
        if (a.add == nullptr || a.add == a.out) continue;
        const size_t add_at = (2 * r + 2) * a.add_channel + x;
        __builtin_prefetch(a.add + add_at, 0);
        __builtin_prefetch(a.add + add_at + a.add_channel, 0);
      }
    }
    for (int x = 0; x < a.tw;) x = run_parts<T, LTH_PAIR_ACC>(a, x, r, offset, value, n, both);
    if (T::kInt8 && a.last && ((r & 1) == 1 || r == a.rows - 1)) finish_four_rows(a, 2 * (r & ~1));
    offset += n;
    value += 2 * n;
  }
}
