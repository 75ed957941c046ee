#include "sessions.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <stdexcept>
#include <utility>

#include "facts.h"
#include "image_input.h"

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

// What the words of `open` say behind the engine.
Opening opening_of(const std::vector<std::string>& words) {
  Opening opening;
  opening.threads = static_cast<int>(whole(words[3], 1, 1024));
  opening.model = words[4];
  for (size_t i = 5; i < words.size();) {
    const std::string& key = words[i];
    const size_t count = key == "input" || key == "output" ? 2 : 1;
    if (i + count >= words.size()) throw std::runtime_error("open has no value for " + key);
    if (key == "weights") {
      opening.weights = words[i + 1];
    } else if (key == "library") {
      opening.library = words[i + 1];
    } else if (key == "input") {
      opening.inputs.push_back({words[i + 1], dims_of(words[i + 2])});
    } else if (key == "output") {
      opening.outputs.push_back({words[i + 1], static_cast<int>(whole(words[i + 2], 1, 1000))});
    } else {
      throw std::runtime_error("open knows no " + key);
    }
    i += count + 1;
  }
  return opening;
}

}  // namespace

Session& Sessions::session(const std::string& number) {
  const auto found = sessions_.find(number);
  if (found == sessions_.end()) throw std::runtime_error("no session " + number + " is open");
  return *found->second;
}

const Sessions::Slot& Sessions::slot(const std::string& number) const {
  const auto found = slots_.find(number);
  if (found == slots_.end()) throw std::runtime_error("slot " + number + " has no inputs");
  return found->second;
}

std::string Sessions::engine(const std::vector<std::string>& words) {
  if (words.size() < 3) throw std::runtime_error("engine needs NAME LIBRARY...");
  const auto found = engines_.find(words[1]);
  if (found == engines_.end()) engines_[words[1]] = load_engine(words[1], {words.begin() + 2, words.end()});
  return field("version", quoted(engines_[words[1]]->version()));
}

std::string Sessions::open(const std::vector<std::string>& words) {
  if (words.size() < 5) throw std::runtime_error("open needs SESSION ENGINE THREADS MODEL");
  sessions_.erase(words[1]);
  if (sessions_.size() >= kMostSessions) throw std::runtime_error("too many sessions are open");
  const auto engine = engines_.find(words[2]);
  if (engine == engines_.end()) throw std::runtime_error("no engine " + words[2] + " is loaded");
  const Opening opening = opening_of(words);
  const auto start = Clock::now();
  sessions_[words[1]] = engine->second->open(opening);
  return field("load_ms", number(since(start)));
}

std::string Sessions::close(const std::vector<std::string>& words) {
  expect(words, 2);
  sessions_.erase(words[1]);
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
    tensor.type = static_cast<ElementType>(whole(words[i + 1], 1, 1000));
    tensor.dims = dims_of(words[i + 2]);
    tensor.data = slot.bytes.data() + at;
    at += tensor.bytes();
    slot.tensors.push_back({words[i], tensor});
  }
  return "";
}

std::string Sessions::image(const std::vector<std::string>& words) {
  ImageInput input = read_input(words);
  if (slots_.size() >= kMostSlots && !slots_.count(words[1])) throw std::runtime_error("too many slots are filled");
  Slot& slot = slots_[words[1]];
  const auto is_other = [&](const NamedTensor& one) {
    return one.name != words[4] && one.tensor.data != slot.image.data();
  };
  std::vector<NamedTensor> kept;
  std::copy_if(slot.tensors.begin(), slot.tensors.end(), std::back_inserter(kept), is_other);
  slot.image = std::move(input.bytes);
  slot.tensors = std::move(kept);
  slot.tensors.push_back({words[4], input.tensor});
  return field("read_ms", number(input.read_ms)) + ", " + field("prepare_ms", number(input.prepare_ms));
}

std::string Sessions::forget(const std::vector<std::string>& words) {
  expect(words, 2);
  slots_.erase(words[1]);
  return "";
}

std::string Sessions::run(const std::vector<std::string>& words, std::vector<Payload>& payload) {
  expect(words, 3);
  Session& used = session(words[1]);
  const Slot& inputs = slot(words[2]);
  const auto start = Clock::now();
  used.run(inputs.tensors);
  const double took = since(start);
  std::string outputs;
  for (const NamedTensor& one : used.outputs()) {
    std::string dims;
    for (const int64_t dim : one.tensor.dims) dims += (dims.empty() ? "" : ", ") + std::to_string(dim);
    outputs += (outputs.empty() ? "{" : ", {") + field("name", quoted(one.name)) + ", " +
               field("type", std::to_string(one.tensor.type)) + ", " + field("dims", "[" + dims + "]") + "}";
    payload.push_back({one.tensor.data, one.tensor.bytes()});
  }
  return field("ms", number(took)) + ", " + field("outputs", "[" + outputs + "]");
}

std::string Sessions::block(const std::vector<std::string>& words) {
  expect(words, 5);
  Session& used = session(words[1]);
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
  Session& used = session(words[1]);
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
