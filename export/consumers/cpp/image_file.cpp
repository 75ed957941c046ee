#include "image_file.h"

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <stdexcept>

#include "image_header.h"

namespace {

constexpr int64_t kLargestFile = int64_t{1} << 28;
constexpr size_t kLeast = size_t{16} << 20;

// What one block of memory of stb_image may have: a few kilobytes of a PNG can inflate to gigabytes.
thread_local size_t most_bytes = 0;

void* new_block(size_t bytes) { return bytes <= most_bytes ? std::malloc(bytes) : nullptr; }

void* larger_block(void* old, size_t bytes) { return bytes <= most_bytes ? std::realloc(old, bytes) : nullptr; }

void expect_of_stb(bool condition) {
  if (!condition) throw std::runtime_error("the decoder found itself in a state that it does not know");
}

}  // namespace

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#define STBI_FAILURE_USERMSG
#define STBI_ASSERT(condition) expect_of_stb(condition)
#define STBI_MALLOC(size) new_block(size)
#define STBI_REALLOC(block, size) larger_block(block, size)
#define STBI_FREE(block) std::free(block)
#if defined(__aarch64__)
#define STBI_NEON
#endif
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wextra"
#include "third_party/stb_image.h"
#pragma GCC diagnostic pop

std::vector<uint8_t> read_bytes(const std::string& path, const std::string& name) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const int64_t size = file ? static_cast<int64_t>(file.tellg()) : -1;
  if (size < 0) throw std::runtime_error(name + " cannot be read at " + path);
  if (size > kLargestFile) throw std::runtime_error(name + " has more than 256 MiB; scale the image down");
  std::vector<uint8_t> bytes(static_cast<size_t>(size));
  file.seekg(0);
  if (!file.read(reinterpret_cast<char*>(bytes.data()), size)) throw std::runtime_error(name + " cannot be read");
  return bytes;
}

Image decode_image(const std::vector<uint8_t>& bytes, const std::string& name) {
  const ImageHeader header = read_image_header(bytes, name);
  // 16 bits for each of four channels, twice, since buffers grow by doubling.
  const size_t area = static_cast<size_t>((header.width + 32) * (header.height + 32));
  most_bytes = kLeast + 16 * area + 2 * bytes.size();
  int width = 0, height = 0, channels = 0;
  const auto size = static_cast<int>(bytes.size());
  const std::unique_ptr<uint8_t, void (*)(void*)> pixels(
      stbi_load_from_memory(bytes.data(), size, &width, &height, &channels, 3), std::free);
  if (!pixels) throw std::runtime_error(name + " is a damaged image, or of a rare kind: " + stbi_failure_reason());
  if (width != header.width || height != header.height) throw std::runtime_error(name + " has several sizes");
  Image image;
  image.width = width;
  image.height = height;
  image.rgb.assign(pixels.get(), pixels.get() + int64_t{3} * width * height);
  return image;
}
