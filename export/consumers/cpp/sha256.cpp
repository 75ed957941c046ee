#include "sha256.h"

#include <array>
#include <cstdio>
#include <fstream>
#include <stdexcept>

namespace {

__extension__ typedef unsigned __int128 Wide;

// FIPS 180-4. The constants are the fractions of cube roots and square roots of the first primes, computed exactly.
struct Sha256 {
  std::array<uint32_t, 64> k{};
  std::array<uint32_t, 8> h{};

  static uint32_t root_fraction(int prime, int power) {  // floor(2^32 * frac(prime^(1/power)))
    Wide low = 0, high = static_cast<Wide>(20) << 32;
    const Wide target = static_cast<Wide>(prime) << (power == 2 ? 64 : 96);
    while (high - low > 1) {
      const Wide middle = (low + high) / 2;
      const Wide value = power == 2 ? middle * middle : middle * middle * middle;
      (value <= target ? low : high) = middle;
    }
    return static_cast<uint32_t>(low);
  }

  Sha256() {
    size_t found = 0;
    for (int candidate = 2; found < k.size(); ++candidate) {
      bool prime = true;
      for (int d = 2; d * d <= candidate; ++d) prime = prime && candidate % d != 0;
      if (!prime) continue;
      if (found < h.size()) h[found] = root_fraction(candidate, 2);
      k[found++] = root_fraction(candidate, 3);
    }
  }

  static uint32_t turn(uint32_t x, int n) { return x >> n | x << (32 - n); }

  void block(const unsigned char* bytes) {
    std::array<uint32_t, 64> w{};
    for (size_t i = 0; i < 16; ++i) {
      for (size_t b = 0; b < 4; ++b) w[i] = w[i] << 8 | bytes[4 * i + b];
    }
    for (size_t i = 16; i < 64; ++i) {
      const uint32_t a = w[i - 15], b = w[i - 2];
      w[i] = w[i - 16] + (turn(a, 7) ^ turn(a, 18) ^ a >> 3) + w[i - 7] + (turn(b, 17) ^ turn(b, 19) ^ b >> 10);
    }
    std::array<uint32_t, 8> s = h;
    for (size_t i = 0; i < 64; ++i) {
      const uint32_t one =
          s[7] + (turn(s[4], 6) ^ turn(s[4], 11) ^ turn(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
      const uint32_t two =
          (turn(s[0], 2) ^ turn(s[0], 13) ^ turn(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
      s = {one + two, s[0], s[1], s[2], s[3] + one, s[4], s[5], s[6]};
    }
    for (size_t i = 0; i < 8; ++i) h[i] += s[i];
  }
};

}  // namespace

std::string sha256_of(const std::string& path, int64_t* size) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  Sha256 hash;
  *size = 0;
  std::array<unsigned char, 128> tail{};
  for (;;) {
    tail.fill(0);
    file.read(reinterpret_cast<char*>(tail.data()), 64);
    const size_t got = static_cast<size_t>(file.gcount());
    *size += static_cast<int64_t>(got);
    if (got == 64) {
      hash.block(tail.data());
      continue;
    }
    tail[got] = 0x80;
    const size_t end = got < 56 ? 64 : 128;
    for (size_t i = 0; i < 8; ++i)
      tail[end - 1 - i] = static_cast<unsigned char>(static_cast<uint64_t>(*size) * 8 >> 8 * i);
    for (size_t at = 0; at < end; at += 64) hash.block(tail.data() + at);
    break;
  }
  std::string text;
  for (uint32_t word : hash.h) {
    char digits[9];
    std::snprintf(digits, sizeof digits, "%08x", word);
    text += digits;
  }
  return text;
}
