// Requests from the host on standard input, replies to it on standard output.
//
// A request is a line of words that spaces separate; text is percent-encoded. `feed` is followed by the bytes of its
// tensors, `store` by those of its file. A reply is a line of JSON, followed by as many bytes as its "payload" says. A
// line "ping" has no reply: the host sends it while it waits, and a process that hears nothing for `silence` seconds
// ends itself, as it does when the input ends. So no process stays behind when the link is gone.
#pragma once

#include <pthread.h>

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

struct Request {
  std::vector<std::string> words;  // decoded
  std::vector<uint8_t> payload;
};

struct Payload {
  const void* data;
  size_t bytes;
};

class Wire {
 public:
  // Takes the standard output for itself: what libraries print goes to the standard error.
  explicit Wire(int silence_seconds);

  Request next();  // waits
  // fields: the members of a JSON object, without its braces.
  void reply(const std::string& fields, const std::vector<Payload>& payload = {});
  void fail(const std::string& message);

 private:
  static void* read_all(void* self);
  void read_requests();
  bool read_line(std::string& line);
  bool read_bytes(uint8_t* into, size_t count);
  size_t fill();
  void hand_over(Request&& request);

  int out_ = -1;
  int silence_;
  std::vector<uint8_t> buffer_;
  size_t at_ = 0, end_ = 0;
  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t changed_ = PTHREAD_COND_INITIALIZER;
  std::deque<Request> waiting_;
};

// The words of a line, decoded. Throws std::runtime_error where a code is damaged.
std::vector<std::string> words_of(const std::string& line);

// Dimensions as 1x3x640x640, or - for a scalar. Throws where a number is negative, or the product does not fit.
std::vector<int64_t> dims_of(const std::string& text);

// A whole number in [least, most]; throws.
int64_t whole(const std::string& text, int64_t least, int64_t most);

// Bytes that follow a request: of `feed SLOT (NAME TYPE DIMS)...` and `store FOLDER DIGEST BYTES`; throws.
size_t payload_bytes(const std::vector<std::string>& words);
