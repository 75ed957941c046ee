// Drives a fuzz harness where the compiler has no libFuzzer: blind mutations, the same arguments.
//   lth_fuzz_NAME -runs=N -max_total_time=SECONDS -seed=S -max_len=BYTES -artifact_prefix=FOLDER/ CORPUS-FOLDER
//   lth_fuzz_NAME FILE                    runs one input
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" __attribute__((weak)) size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                                                unsigned seed);

namespace {

using Bytes = std::vector<uint8_t>;

std::mt19937_64 random_bits;
const Bytes* current = nullptr;  // what runs just now, for the handler
std::string crash_file;

size_t below(size_t count) { return count ? random_bits() % count : 0; }

Bytes content_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Both a sanitizer that aborts and the harness itself end here.
void keep_input(int) {
  if (current) {
    std::ofstream(crash_file, std::ios::binary)
        .write(reinterpret_cast<const char*>(current->data()), static_cast<std::streamsize>(current->size()));
  }
  std::_Exit(77);
}

void run(const Bytes& input) {
  current = &input;
  LLVMFuzzerTestOneInput(input.data(), input.size());
  current = nullptr;
}

size_t mutate_bytes(uint8_t* data, size_t size, size_t max_size) {
  const size_t at = below(size);
  switch (below(5)) {
    case 0:
      if (size) data[at] ^= static_cast<uint8_t>(1u << below(8));
      return size;
    case 1:
      if (size) data[at] = static_cast<uint8_t>(random_bits());
      return size;
    case 2: {  // leave out some bytes
      const size_t count = std::min(size - at, 1 + below(16));
      std::memmove(data + at, data + at + count, size - at - count);
      return size - count;
    }
    case 3: {  // put in some bytes, found elsewhere in the input or drawn
      const size_t count = std::min(max_size - size, 1 + below(16));
      std::memmove(data + at + count, data + at, size - at);
      for (size_t i = 0; i < count; ++i) {
        data[at + i] = static_cast<uint8_t>(below(2) && size ? data[below(size)] : random_bits());
      }
      return size + count;
    }
    default: {  // copy a part of the input to another place
      const size_t from = below(size), count = std::min({size - at, size - from, 1 + below(64)});
      std::memmove(data + at, data + from, count);
      return size;
    }
  }
}

Bytes changed(const Bytes& input, size_t max_size) {
  Bytes result = input;
  const size_t size = result.size();
  result.resize(max_size);
  size_t (*const change)(uint8_t*, size_t, size_t, unsigned) = LLVMFuzzerCustomMutator;
  result.resize(change ? change(result.data(), size, max_size, static_cast<unsigned>(random_bits()))
                       : mutate_bytes(result.data(), size, max_size));
  return result;
}

struct Options {
  uint64_t runs = UINT64_MAX, seed = 1;
  double seconds = 1e9;
  size_t max_size = 4096;
  std::vector<std::string> paths;
};

Options read_options(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    const size_t equals = argument.find('=');
    const std::string key = argument.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : argument.substr(equals + 1);
    if (key == "-runs") {
      options.runs = std::stoull(value);
    } else if (key == "-seed") {
      options.seed = std::stoull(value);
    } else if (key == "-max_total_time") {
      options.seconds = std::stod(value);
    } else if (key == "-max_len") {
      options.max_size = std::stoull(value);
    } else if (key == "-artifact_prefix") {
      crash_file = value;
    } else if (argument[0] != '-') {
      options.paths.push_back(argument);
    }
  }
  return options;
}

}  // namespace

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size) {
  return mutate_bytes(data, size, max_size);
}

int main(int count, char** arguments) {
  const Options options = read_options(count, arguments);
  crash_file += "crash";
  random_bits.seed(options.seed);
  for (int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) std::signal(signal, keep_input);
  std::vector<Bytes> corpus;
  for (const std::string& path : options.paths) {
    if (!std::filesystem::is_directory(path)) {
      corpus.push_back(content_of(path));
      continue;
    }
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(path)) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    for (const auto& file : files) corpus.push_back(content_of(file));
  }
  for (const Bytes& input : corpus) run(input);
  const bool single = options.paths.size() == 1 && !std::filesystem::is_directory(options.paths[0]);
  if (single || corpus.empty()) return corpus.empty();
  const auto start = std::chrono::steady_clock::now();
  uint64_t done = 0;
  for (; done < options.runs; ++done) {
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    if (done % 64 == 0 && spent.count() > options.seconds) break;
    Bytes input = corpus[below(corpus.size())];
    if (input.size() > options.max_size) continue;
    const size_t changes = 1 + (below(4) ? 0 : below(6));
    for (size_t i = 0; i < changes; ++i) input = changed(input, options.max_size);
    run(input);
  }
  std::cerr << "Done " << done << " runs\n";
  return 0;
}
