#include "wire.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "engine.h"
#include "facts.h"

namespace {

constexpr size_t kLongestLine = size_t{1} << 16;
constexpr size_t kLargestPayload = size_t{1} << 30;
constexpr size_t kMostWaiting = 4;

// Ends the process at once: a run of ONNX Runtime cannot be interrupted.
[[noreturn]] void leave(int status) { _exit(status); }

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string decoded(const std::string& word) {
  std::string text;
  for (size_t i = 0; i < word.size(); ++i) {
    if (word[i] != '%') {
      text += word[i];
      continue;
    }
    const int high = i + 2 < word.size() ? digit(word[i + 1]) : -1, low = high < 0 ? -1 : digit(word[i + 2]);
    if (low < 0) throw std::runtime_error("a request has a damaged percent code");
    text += static_cast<char>(16 * high + low);
    i += 2;
  }
  return text;
}

void write_all(int file, const void* data, size_t bytes) {
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = write(file, at, bytes);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) leave(5);  // the host is gone
    at += written;
    bytes -= static_cast<size_t>(written);
  }
}

}  // namespace

std::vector<std::string> words_of(const std::string& line) {
  std::vector<std::string> words;
  for (size_t at = 0; at <= line.size();) {
    const size_t space = std::min(line.find(' ', at), line.size());
    if (space > at) words.push_back(decoded(line.substr(at, space - at)));
    at = space + 1;
  }
  return words;
}

int64_t whole(const std::string& text, int64_t least, int64_t most) {
  char* end = nullptr;
  errno = 0;
  const long long value = std::strtoll(text.c_str(), &end, 10);
  if (text.empty() || *end || errno || value < least || value > most) {
    throw std::runtime_error("a number of a request is wrong: " + text);
  }
  return value;
}

std::vector<int64_t> dims_of(const std::string& text) {
  std::vector<int64_t> dims;
  if (text == "-") return dims;
  int64_t product = 1;
  for (size_t at = 0; at <= text.size();) {
    const size_t cross = std::min(text.find('x', at), text.size());
    dims.push_back(whole(text.substr(at, cross - at), 0, int64_t{1} << 30));
    product *= std::max<int64_t>(dims.back(), 1);
    if (product > int64_t{1} << 30 || dims.size() > 16) throw std::runtime_error("a tensor is too large: " + text);
    at = cross + 1;
  }
  return dims;
}

size_t payload_bytes(const std::vector<std::string>& words) {
  if (!words.empty() && words[0] == "store") {
    if (words.size() != 4) throw std::runtime_error("store needs FOLDER DIGEST BYTES");
    return static_cast<size_t>(whole(words[3], 0, int64_t{kLargestPayload}));
  }
  if (words.empty() || words[0] != "feed") return 0;
  if (words.size() < 5 || (words.size() - 2) % 3) throw std::runtime_error("feed needs SLOT (NAME TYPE DIMS)...");
  size_t bytes = 0;
  for (size_t i = 2; i < words.size(); i += 3) {
    size_t size = width_of(static_cast<int>(whole(words[i + 1], 1, 1000)));
    for (const int64_t dim : dims_of(words[i + 2])) size *= static_cast<size_t>(dim);
    bytes += size;
    if (bytes > kLargestPayload) throw std::runtime_error("the tensors of one feed are larger than 1 GiB");
  }
  return bytes;
}

Wire::Wire(int silence_seconds) : silence_(silence_seconds), buffer_(size_t{1} << 16) {
  out_ = dup(1);
  if (out_ < 0 || dup2(2, 1) < 0) throw std::runtime_error("cannot take the standard output");
  pthread_t reader;
  if (pthread_create(&reader, nullptr, &Wire::read_all, this)) throw std::runtime_error("cannot start a thread");
  pthread_detach(reader);
}

void* Wire::read_all(void* self) {
  static_cast<Wire*>(self)->read_requests();
  return nullptr;
}

void Wire::read_requests() {
  std::string line;
  while (read_line(line)) {
    if (line == "ping") continue;
    Request request;
    try {
      request.words = words_of(line);
      request.payload.resize(payload_bytes(request.words));
    } catch (const std::exception& error) {
      // Where the next request begins is unknown: the host has to start anew.
      fail(error.what());
      leave(3);
    }
    if (!read_bytes(request.payload.data(), request.payload.size())) break;
    if (!request.words.empty()) hand_over(std::move(request));
  }
  leave(0);
}

bool Wire::read_line(std::string& line) {
  line.clear();
  for (;;) {
    if (at_ == end_ && fill() == 0) return false;
    const void* const found = std::memchr(buffer_.data() + at_, '\n', end_ - at_);
    const size_t stop = found ? static_cast<size_t>(static_cast<const uint8_t*>(found) - buffer_.data()) : end_;
    line.append(reinterpret_cast<const char*>(buffer_.data()) + at_, stop - at_);
    at_ = found ? stop + 1 : stop;
    if (line.size() > kLongestLine) return false;
    if (found) return true;
  }
}

bool Wire::read_bytes(uint8_t* into, size_t count) {
  while (count > 0) {
    if (at_ == end_ && fill() == 0) return false;
    const size_t part = std::min(count, end_ - at_);
    std::memcpy(into, buffer_.data() + at_, part);
    at_ += part;
    into += part;
    count -= part;
  }
  return true;
}

// Bytes that arrived; 0 at the end. Leaves where nothing is heard for too long.
size_t Wire::fill() {
  for (;;) {
    pollfd waited{0, POLLIN, 0};
    const int ready = poll(&waited, 1, silence_ * 1000);
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) leave(4);
    const ssize_t got = read(0, buffer_.data(), buffer_.size());
    if (got < 0 && errno == EINTR) continue;
    at_ = 0;
    end_ = got > 0 ? static_cast<size_t>(got) : 0;
    return end_;
  }
}

void Wire::hand_over(Request&& request) {
  pthread_mutex_lock(&mutex_);
  if (waiting_.size() >= kMostWaiting) {
    pthread_mutex_unlock(&mutex_);
    leave(3);  // a host waits for each reply
  }
  waiting_.push_back(std::move(request));
  pthread_cond_signal(&changed_);
  pthread_mutex_unlock(&mutex_);
}

Request Wire::next() {
  pthread_mutex_lock(&mutex_);
  while (waiting_.empty()) pthread_cond_wait(&changed_, &mutex_);
  Request request = std::move(waiting_.front());
  waiting_.pop_front();
  pthread_mutex_unlock(&mutex_);
  return request;
}

void Wire::reply(const std::string& fields, const std::vector<Payload>& payload) {
  size_t bytes = 0;
  for (const Payload& part : payload) bytes += part.bytes;
  const std::string line = "{" + fields + (fields.empty() ? "" : ", ") + "\"payload\": " + std::to_string(bytes) + "}\n";
  write_all(out_, line.data(), line.size());
  for (const Payload& part : payload) write_all(out_, part.data, part.bytes);
}

void Wire::fail(const std::string& message) { reply("\"error\": " + quoted(message)); }
