// The values of a constant, wherever they lie: an array of a file need not be aligned, and nothing in it is taken for
// granted.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

#include "program/weights.h"

namespace lth {

inline size_t width_of(ValueType type) {
  return type == ValueType::kInt8 ? 1 : type == ValueType::kHalf || type == ValueType::kBfloat ? 2 : 4;
}

inline bool is_integer(ValueType type) { return type == ValueType::kInt8 || type == ValueType::kInt32; }

// In units of `a_unit` values: the blocks of a coding, or single values.
class StoredValues {
 public:
  StoredValues(Bytes bytes, ValueType type, size_t a_unit)
      : bytes_(static_cast<const unsigned char*>(bytes.data)), type_(type), a_unit_(a_unit) {
    const size_t width = width_of(type) * a_unit;
    if (bytes.size % width) {
      throw Error("values: " + std::to_string(bytes.size) + " bytes are no whole number of " +
                  (a_unit > 1 ? "blocks" : "values"));
    }
    units_ = bytes.size / width;
  }

  size_t units() const { return units_; }

  // Throws Error where a value is not finite, or an int8 is -128.
  float real(size_t i) const {
    const float value = type_ == ValueType::kHalf ? half(i) : type_ == ValueType::kBfloat ? bfloat(i) : read<float>(i);
    if (!std::isfinite(value)) throw Error("values: number " + std::to_string(i) + " is not finite");
    return value;
  }

  int32_t integer(size_t i) const {
    if (type_ == ValueType::kInt32) return read<int32_t>(i);
    const int32_t value = static_cast<signed char>(bytes_[i]);
    if (value == -128) throw Error("values: number " + std::to_string(i) + " is -128, allowed are -127 to 127");
    return value;
  }

  // Whether all values of a unit are zero.
  bool empty(size_t unit) const {
    for (size_t i = unit * a_unit_; i < (unit + 1) * a_unit_; ++i) {
      if (is_integer(type_) ? integer(i) != 0 : real(i) != 0.f) return false;
    }
    return true;
  }

 private:
  template <class T>
  T read(size_t i) const {
    T value;
    std::memcpy(&value, bytes_ + sizeof value * i, sizeof value);
    return value;
  }

  // The upper half of a float32.
  float bfloat(size_t i) const {
    const uint32_t bits = uint32_t{read<uint16_t>(i)} << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }

  float half(size_t i) const {
    const uint16_t bits = read<uint16_t>(i);
    const int exponent = bits >> 10 & 31;
    const int fraction = bits & 1023;
    float size = std::ldexp(static_cast<float>(exponent ? fraction + 1024 : fraction), (exponent ? exponent : 1) - 25);
    if (exponent == 31) size = HUGE_VALF;  // infinities and NaNs are refused alike
    return bits & 0x8000 ? -size : size;
  }

  const unsigned char* bytes_;
  size_t units_ = 0;
  ValueType type_;
  size_t a_unit_;
};

}  // namespace lth
