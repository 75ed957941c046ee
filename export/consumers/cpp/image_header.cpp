#include "image_header.h"

#include <array>
#include <cstring>
#include <stdexcept>

namespace {

constexpr int64_t kLargestArea = int64_t{1} << 26;  // as in lth_deploy
constexpr int64_t kLargestSide = 32768;
constexpr uint8_t kPngStart[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

// Whole numbers and marks in a file, of which nothing is read behind its end.
class Reader {
 public:
  Reader(const std::vector<uint8_t>& bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  [[noreturn]] void fail(const std::string& what) const { throw std::runtime_error(name_ + " " + what); }
  size_t left(size_t at) const { return at < bytes_.size() ? bytes_.size() - at : 0; }
  uint32_t number(size_t at, size_t count) const {
    const uint8_t* const from = part(at, count);
    uint32_t value = 0;
    for (size_t i = 0; i < count; ++i) value = value << 8 | from[i];
    return value;
  }
  const uint8_t* part(size_t at, size_t count) const {
    if (left(at) < count) fail("is cut short");
    return bytes_.data() + at;
  }

 private:
  const std::vector<uint8_t>& bytes_;
  const std::string& name_;
};

uint32_t crc_of(const uint8_t* data, size_t count) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> made{};
    for (uint32_t i = 0; i < 256; ++i) {
      made[i] = i;
      for (int bit = 0; bit < 8; ++bit) made[i] = made[i] & 1 ? 0xedb88320u ^ made[i] >> 1 : made[i] >> 1;
    }
    return made;
  }();
  uint32_t crc = ~uint32_t{0};
  for (size_t i = 0; i < count; ++i) crc = table[(crc ^ data[i]) & 255] ^ crc >> 8;
  return ~crc;
}

ImageHeader read_png(const Reader& file) {
  ImageHeader header;
  for (size_t at = sizeof kPngStart;;) {
    const size_t length = file.number(at, 4);
    const uint8_t* const chunk = file.part(at + 4, length + 4);
    const std::string kind(reinterpret_cast<const char*>(chunk), 4);
    const bool is_critical = !(chunk[0] & 32);
    if (is_critical && crc_of(chunk, length + 4) != file.number(at + 8 + length, 4)) {
      file.fail("is a damaged PNG: the checksum of its chunk " + (kind == "IDAT" ? "of pixels" : kind) + " is wrong");
    }
    if (at == sizeof kPngStart) {
      if (kind != "IHDR" || length != 13) file.fail("is a PNG without a header");
      header = {file.number(at + 8, 4), file.number(at + 12, 4)};
      const bool is_gray = file.number(at + 17, 1) == 0;
      if (is_gray && file.number(at + 16, 1) == 16) {
        file.fail("is gray with 16 bits, whose range is unknown; scale it to 8 bits a channel");
      }
    }
    if (kind == "acTL") file.fail("is an animation; store the frame that is annotated as an image of its own");
    if (kind == "IEND") return header;
    at += length + 12;
  }
}

// Where the next segment of a JPEG begins, behind the pixels that a scan has from `at` on.
size_t behind_scan(const Reader& file, size_t at) {
  for (;; ++at) {
    if (file.number(at, 1) != 0xff) continue;
    const uint32_t next = file.number(at + 1, 1);
    const bool is_restart = next >= 0xd0 && next <= 0xd7;
    if (next != 0 && next != 0xff && !is_restart) return at;
  }
}

ImageHeader read_jpeg(const Reader& file) {
  ImageHeader header;
  for (size_t at = 2;;) {
    while (file.number(at, 1) != 0xff) ++at;
    while (file.number(at, 1) == 0xff) ++at;
    const uint32_t marker = file.number(at++, 1);
    if (marker == 0xd9) break;
    if (marker <= 0x01 || (marker >= 0xd0 && marker <= 0xd8)) continue;
    const size_t length = file.number(at, 2);
    if (length < 2) file.fail("is a damaged JPEG: a segment has no length");
    file.part(at, length);
    const bool is_frame = marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
    if (is_frame && length >= 8 && header.width == 0) header = {file.number(at + 5, 2), file.number(at + 3, 2)};
    at += length;
    if (marker == 0xda) at = behind_scan(file, at);
  }
  return header;
}

}  // namespace

ImageHeader read_image_header(const std::vector<uint8_t>& bytes, const std::string& name) {
  const Reader file(bytes, name);
  ImageHeader header;
  if (bytes.size() >= 8 && !std::memcmp(bytes.data(), kPngStart, 8)) {
    header = read_png(file);
  } else if (bytes.size() >= 2 && bytes[0] == 0xff && bytes[1] == 0xd8) {
    header = read_jpeg(file);
  } else {
    file.fail("is neither a JPEG nor a PNG");
  }
  if (header.width < 1 || header.height < 1) file.fail("has a damaged header: it has no size");
  if (header.width > kLargestSide || header.height > kLargestSide || header.width * header.height > kLargestArea) {
    file.fail("has " + std::to_string(header.width) + "x" + std::to_string(header.height) +
              " pixels; at most 8192x8192 are decoded: scale the image down");
  }
  return header;
}
