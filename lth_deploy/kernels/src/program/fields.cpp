#include "program/fields.h"

#include <charconv>
#include <cmath>

#include "error.h"

namespace lth {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

std::string quoted(std::string_view text) {
  constexpr size_t kShown = 60;
  std::string result = "'";
  for (char c : text.substr(0, kShown)) result += c >= ' ' && c <= '~' ? c : '?';
  return result + (text.size() > kShown ? "...'" : "'");
}

void Fields::fail(const std::string& what) const {
  throw Error("program, line " + std::to_string(number_) + ": " + what);
}

std::string_view Fields::next(const char* what) {
  if (ended_) fail(std::string("the line ends where ") + what + " is expected");
  const size_t space = rest_.find(' ');
  const std::string_view field = rest_.substr(0, space);
  if (field.empty()) fail("fields are separated by exactly one space");
  ended_ = space == std::string_view::npos;
  rest_ = ended_ ? std::string_view() : rest_.substr(space + 1);
  return field;
}

void Fields::expect(std::string_view word) {
  const std::string_view found = next(std::string(word).c_str());
  if (found != word) fail("found " + quoted(found) + " where " + quoted(word) + " is expected");
}

bool Fields::starts_with(std::string_view key) const { return !ended_ && rest_.substr(0, key.size()) == key; }

std::string_view Fields::value(std::string_view key) {
  if (!starts_with(key)) fail("found " + quoted(rest_) + " where " + quoted(key) + " is expected");
  return next(std::string(key).c_str()).substr(key.size());
}

void Fields::end() const {
  if (!ended_) fail(rest_.empty() ? "a line does not end in a space" : "nothing may follow, found " + quoted(rest_));
}

int64_t Fields::integer(std::string_view text, int64_t low, int64_t high, const char* what) const {
  int64_t found = 0;
  bool good = !text.empty() && is_digit(text[0]) && (text.size() == 1 || text[0] != '0');
  if (good) {
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), found);
    good = code == std::errc() && end == text.data() + text.size() && found >= low && found <= high;
  }
  if (!good) {
    fail(std::string(what) + " is a whole number from " + std::to_string(low) + " to " + std::to_string(high) +
         ", found " + quoted(text));
  }
  return found;
}

double Fields::number(std::string_view text, const char* what) const {
  double found = 0.;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), found);
  bool good = code == std::errc() && end == text.data() + text.size() && std::isfinite(static_cast<float>(found));
  if (good) {
    // Unlike printf this does not depend on the locale of the host program.
    std::array<char, 32> written;
    const char* last =
        std::to_chars(written.data(), written.data() + written.size(), found, std::chars_format::general, 9).ptr;
    good = text == std::string_view(written.data(), static_cast<size_t>(last - written.data()));
  }
  if (!good) fail(std::string(what) + " is a finite number such as 0.1 or 1e-05, found " + quoted(text));
  return found;
}

std::vector<int64_t> Fields::list(std::string_view text, int64_t low, int64_t high, const char* what) const {
  std::vector<int64_t> found;
  for (;;) {
    const size_t comma = text.find(',');
    found.push_back(integer(text.substr(0, comma), low, high, what));
    if (comma == std::string_view::npos) return found;
    text = text.substr(comma + 1);
  }
}

}  // namespace lth
