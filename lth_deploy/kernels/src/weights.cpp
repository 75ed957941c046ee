// Decoding of the codings of export/FORMAT.md. The bytes come from a file, so nothing in them is taken for granted.
#include "weights.h"

#include <cmath>
#include <cstring>
#include <string>

namespace lth {
namespace {

// Values of a constant, fp32 or fp16, wherever they lie: an array of a file need not be aligned.
class Values {
 public:
  Values(Bytes bytes, bool half) : bytes_(static_cast<const unsigned char*>(bytes.data)), half_(half) {
    const size_t width = half ? 2 : 4;
    if (bytes.size % width)
      throw Error("values: " + std::to_string(bytes.size) + " bytes are no whole number of values");
    size_ = bytes.size / width;
  }

  size_t size() const { return size_; }

  // Throws Error where it is not finite.
  float operator[](size_t i) const {
    const float value = half_ ? half(i) : single(i);
    if (!std::isfinite(value)) throw Error("values: number " + std::to_string(i) + " is not finite");
    return value;
  }

 private:
  float single(size_t i) const {
    float value;
    std::memcpy(&value, bytes_ + 4 * i, sizeof value);
    return value;
  }

  float half(size_t i) const {
    uint16_t bits;
    std::memcpy(&bits, bytes_ + 2 * i, sizeof bits);
    const int exponent = bits >> 10 & 31;
    const int fraction = bits & 1023;
    float size = std::ldexp(static_cast<float>(exponent ? fraction + 1024 : fraction), (exponent ? exponent : 1) - 25);
    if (exponent == 31) size = HUGE_VALF;  // infinities and NaNs are refused alike
    return bits & 0x8000 ? -size : size;
  }

  const unsigned char* bytes_;
  size_t size_ = 0;
  bool half_;
};

size_t elements_of(const WeightDecl& decl) {
  size_t elements = 1;
  for (int64_t dim : decl.dims) elements *= static_cast<size_t>(dim);  // parse_program bounds the product
  return elements;
}

void expect_count(const char* what, size_t found, size_t wanted) {
  if (found != wanted) {
    throw Error(std::string(what) + ": found " + std::to_string(found) + " instead of " + std::to_string(wanted));
  }
}

void expect_inside(size_t position, size_t elements) {
  if (position >= elements) {
    throw Error("positions: a value lies at " + std::to_string(position) + " of " + std::to_string(elements));
  }
}

float non_zero(const Values& values, size_t i) {
  const float value = values[i];
  if (value == 0.f) throw Error("values: number " + std::to_string(i) + " is zero");
  return value;
}

void decode_dense(const Values& values, Weight& weight) {
  size_t count = 0;
  for (size_t i = 0; i < values.size(); ++i) count += values[i] != 0.f;
  weight.position.reserve(count);
  weight.value.reserve(count);
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] == 0.f) continue;
    weight.position.push_back(static_cast<uint32_t>(i));
    weight.value.push_back(values[i]);
  }
}

void append(Weight& weight, size_t position, float value) {
  weight.position.push_back(static_cast<uint32_t>(position));
  weight.value.push_back(value);
}

void decode_bitmask(const unsigned char* bits, size_t size, const Values& values, size_t elements, Weight& weight) {
  expect_count("bits: bytes", size, (elements + 7) / 8);
  if (elements % 8 && bits[size - 1] >> elements % 8) throw Error("bits: a bit behind the last weight is set");
  size_t found = 0;
  for (size_t i = 0; i < size; ++i) found += static_cast<size_t>(__builtin_popcount(bits[i]));
  expect_count("bits: set bits against values", found, values.size());
  size_t next = 0;
  for (size_t i = 0; i < size; ++i) {
    for (unsigned left = bits[i]; left; left &= left - 1) {
      append(weight, 8 * i + static_cast<size_t>(__builtin_ctz(left)), non_zero(values, next));
      ++next;
    }
  }
}

void decode_steps8(const unsigned char* steps, size_t size, const Values& values, size_t elements, Weight& weight) {
  expect_count("steps: bytes against values", size, values.size());
  size_t position = 0;
  for (size_t i = 0; i < size; ++i) {
    position += steps[i];
    expect_inside(position, elements);
    const float value = values[i];
    if (value != 0.f) {
      append(weight, position, value);
    } else if (steps[i] != 255 || i + 1 == size) {
      throw Error("values: number " + std::to_string(i) + " is zero, and no filler of a long gap");
    }
    ++position;
  }
}

struct GapGroups {
  size_t bytes;  // of the shortest whole number of codes
  size_t codes;  // in them
};

GapGroups groups_of(int bits) {
  size_t bytes = 1;
  while (bytes * 8 % static_cast<size_t>(bits)) ++bytes;
  return {bytes, bytes * 8 / static_cast<size_t>(bits)};
}

void decode_gaps(const unsigned char* gaps, size_t size, int bits, const Values& values, size_t elements,
                 Weight& weight) {
  const GapGroups group = groups_of(bits);
  if (size % group.bytes)
    throw Error("gaps: " + std::to_string(size) + " bytes are no whole number of groups of codes");
  const size_t codes = size / group.bytes * group.codes;
  const uint32_t escape = (uint32_t{1} << bits) - 1;
  uint64_t window = 0;  // bits that are read and not yet used, lowest first
  int held = 0;
  size_t position = 0, found = 0, escapes = 0;  // escapes: since the last value
  for (size_t code = 0; code < codes; ++code) {
    for (; held < bits; held += 8) window |= static_cast<uint64_t>(*gaps++) << held;
    const uint32_t gap = static_cast<uint32_t>(window) & escape;
    window >>= bits;
    held -= bits;
    position += gap;
    if (gap == escape) {
      ++escapes;
      continue;
    }
    escapes = 0;
    expect_inside(position, elements);
    if (found == values.size()) throw Error("gaps: more codes of values than values");
    append(weight, position, non_zero(values, found));
    ++found;
    ++position;
  }
  expect_count("gaps: codes of values against values", found, values.size());
  if (escapes >= group.codes) throw Error("gaps: more codes behind the last value than fill its group");
}

}  // namespace

Weight decode_weight(const WeightDecl& decl, Bytes positions, Bytes values) {
  const size_t elements = elements_of(decl);
  const Values found(values, decl.half);
  const auto* codes = static_cast<const unsigned char*>(positions.data);
  Weight weight;
  weight.dims = decl.dims;
  if (decl.coding == Coding::kDense) {
    expect_count("values", found.size(), elements);
    decode_dense(found, weight);
    return weight;
  }
  weight.position.reserve(found.size());
  weight.value.reserve(found.size());
  switch (decl.coding) {
    case Coding::kBitmask:
      decode_bitmask(codes, positions.size, found, elements, weight);
      break;
    case Coding::kSteps8:
      decode_steps8(codes, positions.size, found, elements, weight);
      break;
    default:
      decode_gaps(codes, positions.size, decl.gap_bits, found, elements, weight);
  }
  return weight;
}

}  // namespace lth
