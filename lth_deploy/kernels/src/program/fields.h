// The fields of one line of a program: text separated by single spaces. Reads from the left and never past the end.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lth {

class Fields {
 public:
  // `number` counts lines from 1, for messages.
  Fields(std::string_view line, int number) : rest_(line), number_(number), ended_(line.empty()) {}

  bool done() const { return ended_; }
  // The next field, which `what` describes in messages.
  std::string_view next(const char* what);
  // The next field must be exactly `word`.
  void expect(std::string_view word);
  // Whether the next field starts with `key`, such as "add=".
  bool starts_with(std::string_view key) const;
  // The next field must start with `key`; what follows it.
  std::string_view value(std::string_view key);
  // Nothing may be left.
  void end() const;

  // Decimal without sign or leading zeros, in [low, high].
  int64_t integer(std::string_view text, int64_t low, int64_t high, const char* what) const;
  // Finite as a float, and written as C's "%.9g" writes it.
  double number(std::string_view text, const char* what) const;
  // Integers in [low, high], separated by commas.
  std::vector<int64_t> list(std::string_view text, int64_t low, int64_t high, const char* what) const;
  // Exactly N of them.
  template <size_t N>
  std::array<int, N> numbers(std::string_view key, int64_t low, int64_t high) {
    const std::string name(key.substr(0, key.size() - 1));
    const std::vector<int64_t> found = list(value(key), low, high, name.c_str());
    if (found.size() != N)
      fail(name + " needs " + std::to_string(N) + " numbers, found " + std::to_string(found.size()));
    std::array<int, N> result;
    for (size_t i = 0; i < N; ++i) result[i] = static_cast<int>(found[i]);
    return result;
  }

  // Throws Error: "program, line N: what".
  [[noreturn]] void fail(const std::string& what) const;

 private:
  std::string_view rest_;
  int number_;
  bool ended_;
};

// A short, printable quotation of hostile text.
std::string quoted(std::string_view text);

}  // namespace lth
