#include "sessions.h"

#include <chrono>
#include <stdexcept>

#include "facts.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMostSessions = 64, kMostSlots = 64, kMostWindows = 10000;
constexpr int64_t kLongest = 24LL * 3600 * 1000;  // milliseconds

double since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

void expect(const std::vector<std::string>& words, size_t count) {
  if (words.size() != count) throw std::runtime_error("a request has the wrong number of words: " + words[0]);
}

std::string field(const char* name, const std::string& value) { return std::string("\"") + name + "\": " + value; }

}  // namespace

Model& Sessions::model(const std::string& number) {
  const auto found = models_.find(number);
  if (found == models_.end()) throw std::runtime_error("no session " + number + " is open");
  return *found->second;
}

const Sessions::Slot& Sessions::slot(const std::string& number) const {
  const auto found = slots_.find(number);
  if (found == slots_.end()) throw std::runtime_error("slot " + number + " has no inputs");
  return found->second;
}

std::string Sessions::open(const std::vector<std::string>& words) {
  expect(words, 5);
  models_.erase(words[1]);
  if (models_.size() >= kMostSessions) throw std::runtime_error("too many sessions are open");
  const int threads = static_cast<int>(whole(words[4], 1, 1024));
  const auto start = Clock::now();
  models_[words[1]] = std::make_unique<Model>(runtime_, words[2], words[3] == "-" ? "" : words[3], threads);
  return field("load_ms", number(since(start)));
}

std::string Sessions::close(const std::vector<std::string>& words) {
  expect(words, 2);
  models_.erase(words[1]);
  return "";
}

std::string Sessions::feed(Request&& request) {
  const std::vector<std::string>& words = request.words;
  if (slots_.size() >= kMostSlots && !slots_.count(words[1])) throw std::runtime_error("too many slots are filled");
  Slot& slot = slots_[words[1]];
  slot.bytes = std::move(request.payload);
  slot.tensors.clear();
  size_t at = 0;
  for (size_t i = 2; i < words.size(); i += 3) {
    Tensor tensor;
    tensor.type = static_cast<ort::ElementType>(whole(words[i + 1], 1, 1000));
    tensor.dims = dims_of(words[i + 2]);
    tensor.data = slot.bytes.data() + at;
    at += tensor.bytes();
    slot.tensors.push_back({words[i], tensor});
  }
  return "";
}

std::string Sessions::forget(const std::vector<std::string>& words) {
  expect(words, 2);
  slots_.erase(words[1]);
  return "";
}

std::string Sessions::run(const std::vector<std::string>& words, std::vector<Payload>& payload) {
  expect(words, 3);
  Model& used = model(words[1]);
  const Slot& inputs = slot(words[2]);
  const auto start = Clock::now();
  const std::vector<Tensor> found = used.run(inputs.tensors);
  const double took = since(start);
  std::string outputs;
  for (size_t i = 0; i < found.size(); ++i) {
    std::string dims;
    for (const int64_t dim : found[i].dims) dims += (dims.empty() ? "" : ", ") + std::to_string(dim);
    outputs += (i ? ", {" : "{") + field("name", quoted(used.outputs()[i])) + ", " +
               field("type", std::to_string(found[i].type)) + ", " + field("dims", "[" + dims + "]") + "}";
    payload.push_back({found[i].data, found[i].bytes()});
  }
  return field("ms", number(took)) + ", " + field("outputs", "[" + outputs + "]");
}

std::string Sessions::block(const std::vector<std::string>& words) {
  expect(words, 5);
  Model& used = model(words[1]);
  const Slot& inputs = slot(words[2]);
  const int64_t settle = whole(words[3], 0, 1000);
  const double length = static_cast<double>(whole(words[4], 1, kLongest));
  const std::string before = sensors_.conditions();
  for (int64_t i = 0; i < settle; ++i) used.run(inputs.tensors);
  std::string samples;
  const auto begin = Clock::now();
  do {
    const auto start = Clock::now();
    used.run(inputs.tensors);
    samples += (samples.empty() ? "" : ", ") + number(since(start));
  } while (since(begin) < length);
  const double took = since(begin);
  return field("samples_ms", "[" + samples + "]") + ", " + field("took_ms", number(took)) + ", " +
         field("before", before) + ", " + field("after", sensors_.conditions());
}

std::string Sessions::sustain(const std::vector<std::string>& words) {
  if (words.size() < 5) throw std::runtime_error("sustain needs SESSION MILLISECONDS WINDOW SLOT...");
  Model& used = model(words[1]);
  const double length = static_cast<double>(whole(words[2], 1, kLongest));
  const double window = static_cast<double>(whole(words[3], 100, kLongest));
  if (length / window > kMostWindows) throw std::runtime_error("sustain has too many windows");
  std::vector<const Slot*> inputs;
  for (size_t i = 4; i < words.size(); ++i) inputs.push_back(&slot(words[i]));
  std::string windows;
  const auto begin = Clock::now();
  for (size_t turn = 0; since(begin) < length;) {
    const auto start = Clock::now();
    int64_t runs = 0;
    do {
      used.run(inputs[turn++ % inputs.size()]->tensors);
      ++runs;
    } while (since(start) < window && since(begin) < length);
    const double took = since(start);
    windows += (windows.empty() ? "{" : ", {") + field("runs", std::to_string(runs)) + ", " +
               field("took_ms", number(took)) + ", " + field("after", sensors_.conditions()) + "}";
  }
  return field("windows", "[" + windows + "]") + ", " + field("took_ms", number(since(begin)));
}
