#include "tuning/record.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>
#include <vector>

#include "error.h"
#include "program/fields.h"

#if defined(__x86_64__)
#include <cpuid.h>

#include <cstring>
#else
#include <cstdio>
#endif

namespace lth {
namespace {

constexpr size_t kMaxText = 1000;

struct Field {
  const char* name;
  std::optional<double> TuningRecord::* value;
};

constexpr Field kMisses[] = {{"single", &TuningRecord::single},
                             {"pair", &TuningRecord::pair},
                             {"int8_single", &TuningRecord::int8_single},
                             {"int8_pair", &TuningRecord::int8_pair}};

[[noreturn]] void fail(const std::string& what) {
  throw Error("LTH_TUNING: " + what + "; `lth-deploy checks` prints the record of this machine, and without LTH_TUNING it is measured");
}

// As printf writes with "%.6g", whatever the locale; streams would need a newer glibc.
std::string digits(double value) {
  std::array<char, 32> text;
  return {text.data(), std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::general, 6).ptr};
}

// A decimal number between two bounds.
double number(const std::string& key, const std::string& text, double least, double most) {
  double value = 0;
  const char* const end = text.data() + text.size();
  const bool plain = !text.empty() && text.find_first_not_of("0123456789.") == std::string::npos;
  const auto read = std::from_chars(text.data(), end, value, std::chars_format::fixed);
  if (!plain || read.ec != std::errc() || read.ptr != end) fail(key + "=" + text + " is no decimal number");
  if (value < least || value > most) {
    fail(key + "=" + text + " is impossible: it lies between " + digits(least) + " and " + digits(most));
  }
  return value;
}

// The words of a text.
std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> words;
  for (size_t at = 0; (at = text.find_first_not_of(' ', at)) != std::string::npos;) {
    const size_t end = std::min(text.find(' ', at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end;
  }
  return words;
}

void check_owner(const std::string& key, const std::string& value, const std::string& here) {
  if (value == here) return;
  fail("it is the tuning of the " + key + " " + value + ", and this is " + here +
       ": leave LTH_TUNING unset, or leave out " + key + "= to use its values here");
}

bool read_miss(TuningRecord& record, const std::string& key, const std::string& value) {
  for (const Field& field : kMisses) {
    if (key != field.name) continue;
    record.*field.value = number(key, value, 0, kMostMiss);
    return true;
  }
  return false;
}

}  // namespace

TuningRecord parse_tuning(const std::string& text, const std::string& isa) {
  if (text.size() > kMaxText) fail("it is longer than " + std::to_string(kMaxText) + " characters");
  TuningRecord record;
  std::vector<std::string> seen;
  for (const std::string& word : split(text)) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) fail(quoted(word) + " is not KEY=VALUE");
    const std::string key = word.substr(0, equals), value = word.substr(equals + 1);
    if (std::find(seen.begin(), seen.end(), key) != seen.end()) fail(quoted(key) + " is given twice");
    seen.push_back(key);
    if (key == "processor") {
      check_owner(key, value, processor_name());
    } else if (key == "isa") {
      check_owner(key, value, isa);
    } else if (key == "fma") {
      const double fma = number(key, value, 1, kMostFma);
      record.fma = static_cast<int>(fma);
      if (record.fma != fma) fail("fma=" + value + " is no whole number");
    } else if (!read_miss(record, key, value)) {
      fail(quoted(key) + " is none of processor, isa, fma, single, pair, int8_single, int8_pair");
    }
  }
  if (std::find(seen.begin(), seen.end(), "fma") == seen.end()) fail("fma= is missing in " + quoted(text));
  return record;
}

std::string described(const TuningRecord& record, const std::string& isa) {
  std::string text = "processor=" + processor_name() + " isa=" + isa + " fma=" + std::to_string(record.fma);
  for (const Field& field : kMisses) {
    const std::optional<double>& value = record.*field.value;
    if (value) text += std::string(" ") + field.name + "=" + digits(*value);
  }
  return text;
}

#if defined(__x86_64__)
std::string processor_name() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  char vendor[13] = {};
  if (__get_cpuid(0, &a, &b, &c, &d) == 0) return "x86_64";
  std::memcpy(vendor, &b, 4), std::memcpy(vendor + 4, &d, 4), std::memcpy(vendor + 8, &c, 4);
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return vendor;
  const unsigned base = a >> 8 & 15, family = base == 15 ? base + (a >> 20 & 255) : base;
  const unsigned model = (a >> 4 & 15) | (a >> 12 & 240), stepping = a & 15;
  return std::string(vendor) + "-" + std::to_string(family) + "-" + std::to_string(model) + "-" + std::to_string(stepping);
}
#else
// Of the first core: others may differ, and a thread may run on any.
std::string processor_name() {
  std::FILE* const file = std::fopen("/sys/devices/system/cpu/cpu0/regs/identification/midr_el1", "r");
  if (file == nullptr) return "unnamed";
  char id[32] = {};
  const int found = std::fscanf(file, "%31s", id);
  std::fclose(file);
  return found == 1 ? std::string("midr-") + id : "unnamed";
}
#endif

}  // namespace lth
