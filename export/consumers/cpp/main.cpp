// Runs an lth_deploy export with ONNX Runtime's C API: --detect writes COCO results, --bench what a benchmark needs.
// `serve` takes requests from lth-deploy benchmark --host instead. README.md has the options.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <random>
#include <stdexcept>

#include "facts.h"
#include "images.h"
#include "onnxruntime.h"
#include "serve.h"
#include "sha256.h"

namespace {

constexpr size_t kTimedImages = 4;
constexpr int kWarmUp = 3;

struct Options {
  std::string runtime, model, library, images, detect, bench;
  std::vector<int64_t> shape;
  int threads = 1;
  double seconds = 5, score = 0;
};

std::vector<int64_t> numbers_of(const std::string& text) {
  std::vector<int64_t> numbers;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    numbers.push_back(std::stoll(text.substr(at, comma - at)));
    if (numbers.back() < 1) throw std::runtime_error("--shape needs positive numbers");
    at = comma + 1;
  }
  return numbers;
}

Options read_options(const std::vector<std::string>& arguments) {
  std::map<std::string, std::string> given;
  for (size_t i = 0; i < arguments.size(); i += 2) {
    if (i + 1 == arguments.size()) throw std::runtime_error(arguments[i] + " needs a value");
    given[arguments[i]] = arguments[i + 1];
  }
  const auto take = [&](const char* name, const std::string& otherwise) {
    const auto found = given.find(name);
    if (found == given.end()) return otherwise;
    const std::string value = found->second;
    given.erase(found);
    return value;
  };
  Options options;
  options.runtime = take("--runtime", "libonnxruntime.so");
  options.model = take("--model", "");
  options.library = take("--library", "");
  options.images = take("--images", "");
  options.detect = take("--detect", "");
  options.bench = take("--bench", "");
  const std::string shape = take("--shape", "");
  if (!shape.empty()) options.shape = numbers_of(shape);
  options.threads = std::stoi(take("--threads", "1"));
  options.seconds = std::stod(take("--seconds", "5"));
  options.score = std::stod(take("--score", "0"));
  if (!given.empty()) throw std::runtime_error("unknown option " + given.begin()->first + "; see README.md");
  if (options.model.empty()) throw std::runtime_error("--model MODEL.onnx is needed; see README.md");
  if (options.images.empty() == options.shape.empty()) {
    throw std::runtime_error("give either --images LIST or --shape, for instance 1,3,416,416");
  }
  if (options.detect.empty() && options.bench.empty()) throw std::runtime_error("give --detect or --bench or both");
  if (!options.detect.empty() && options.images.empty()) throw std::runtime_error("--detect needs --images");
  return options;
}

Tensor tensor_of(Image& image) { return {kUint8, {image.height, image.width, 3}, image.rgb.data()}; }

const Tensor& output(const std::vector<NamedTensor>& found, const char* name, ElementType type) {
  for (const NamedTensor& one : found) {
    if (one.name != name) continue;
    if (one.tensor.type != type) throw std::runtime_error(std::string("output ") + name + " has another type");
    return one.tensor;
  }
  throw std::runtime_error(std::string("the model has no output ") + name + ": it is not an lth_deploy export");
}

void run_one(OnnxRuntimeSession& model, const Tensor& input) {
  const std::vector<std::string>& names = model.input_names();
  if (names.size() != 1) throw std::runtime_error("models with one input are run, this one has more");
  model.run({{names[0], input}});
}

// COCO results of one image, each with a comma in front but the very first.
void append_results(OnnxRuntimeSession& model, Image& image, const std::vector<int64_t>& ids, double least,
                    std::string& text) {
  run_one(model, tensor_of(image));
  const std::vector<NamedTensor> found = model.outputs();
  const Tensor& boxes = output(found, "boxes", kFloat);
  const Tensor& scores = output(found, "scores", kFloat);
  const Tensor& labels = output(found, "labels", kInt64);
  if (boxes.size() != 4 * scores.size() || labels.size() != scores.size()) {
    throw std::runtime_error("boxes, scores and labels do not agree");
  }
  for (int64_t i = 0; i < scores.size(); ++i) {
    const float score = static_cast<const float*>(scores.data)[i];
    if (score < least) continue;
    const int64_t label = static_cast<const int64_t*>(labels.data)[i];
    if (label < 1 || label > static_cast<int64_t>(ids.size())) throw std::runtime_error("a label has no class");
    const float* const box = static_cast<const float*>(boxes.data) + 4 * i;
    for (int side = 0; side < 4; ++side) {
      if (!std::isfinite(box[side]) || !std::isfinite(score)) throw std::runtime_error("a detection is not finite");
    }
    const double left = box[0], top = box[1], right = box[2], bottom = box[3];
    text += std::string(text.empty() ? "" : ",\n") + "{\"image_id\":" + std::to_string(image.id) +
            ",\"category_id\":" + std::to_string(ids[static_cast<size_t>(label - 1)]) + ",\"bbox\":[" + number(left) +
            "," + number(top) + "," + number(right - left) + "," + number(bottom - top) +
            "],\"score\":" + number(score) + "}";
  }
}

double since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

struct Measured {
  double load_ms = 0, first_ms = 0;
  int64_t base_rss = 0, peak_rss = 0;
  std::vector<double> samples_ms;
};

double percentile(std::vector<double> samples, double share) {  // as numpy does: linear between neighbors
  std::sort(samples.begin(), samples.end());
  const double at = share * static_cast<double>(samples.size() - 1);
  const size_t low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, samples.size() - 1);
  return samples[low] + (at - static_cast<double>(low)) * (samples[high] - samples[low]);
}

void time_runs(OnnxRuntimeSession& model, const std::vector<Tensor>& feeds, double seconds, Measured& measured) {
  auto start = std::chrono::steady_clock::now();
  run_one(model, feeds[0]);
  measured.first_ms = since(start);
  run_one(model, feeds[0]);
  measured.peak_rss = peak_rss_bytes();
  for (int i = 0; i < kWarmUp; ++i) run_one(model, feeds[0]);
  const auto begin = std::chrono::steady_clock::now();
  for (size_t i = 0; measured.samples_ms.size() < 3 || since(begin) < seconds * 1e3; ++i) {
    start = std::chrono::steady_clock::now();
    run_one(model, feeds[i % feeds.size()]);
    measured.samples_ms.push_back(since(start));
  }
}

template <class T, class F>
std::string list_of(const std::vector<T>& items, F&& text) {
  std::string all;
  for (const T& item : items) all += (all.empty() ? "" : ", ") + text(item);
  return "[" + all + "]";
}

// detections: of all entries; may be null.
std::string report(const Options& options, const OnnxRuntime& runtime, const Measured& m,
                   const std::vector<Entry>& entries, const std::string* detections) {
  const Machine machine = describe_machine();
  const char* const forced = std::getenv("LTH_ISA");
  int64_t size = 0;
  const std::string digest = sha256_of(options.model, &size);
  const auto field = [](const char* name, const std::string& value) {
    return std::string("  \"") + name + "\": " + value;
  };
  const std::vector<std::string> fields = {
      field("schema", "\"lth-consumer/1\""),
      field("when", quoted(utc_now())),
      field("model", "{\"path\": " + quoted(options.model) + ", \"sha256\": " + quoted(digest) +
                         ", \"bytes\": " + std::to_string(size) + "}"),
      field("machine", "{\"cpu\": " + quoted(machine.cpu) + ", \"cores\": " + std::to_string(machine.cores) +
                           ", \"isa\": " + list_of(machine.isa, quoted) + ", \"os\": " + quoted(machine.os) +
                           ", \"memory\": " + std::to_string(machine.memory) + "}"),
      field("emulated", emulated() ? "true" : "false"),
      field("onnxruntime", quoted(runtime.version())),
      field("library", options.library.empty() ? "null" : quoted(options.library)),
      field("forced_isa", forced ? quoted(forced) : "null"),
      field("threads", std::to_string(options.threads)),
      field("load_ms", number(m.load_ms)),
      field("first_ms", number(m.first_ms)),
      field("base_rss_bytes", std::to_string(m.base_rss)),
      field("peak_rss_bytes", std::to_string(m.peak_rss)),
      field("p50_ms", number(percentile(m.samples_ms, 0.5))),
      field("p90_ms", number(percentile(m.samples_ms, 0.9))),
      field("samples_ms", list_of(m.samples_ms, number)),
      field("images", detections ? list_of(entries, [](const Entry& e) { return std::to_string(e.id); }) : "null"),
      field("detections", detections ? "[\n" + *detections + "]" : "null"),
  };
  std::string text;
  for (const std::string& one : fields) text += (text.empty() ? "{\n" : ",\n") + one;
  return text + "\n}\n";
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

void run(const Options& options) {
  const OnnxRuntime runtime({options.runtime});
  Measured measured;
  measured.base_rss = peak_rss_bytes();
  const auto start = std::chrono::steady_clock::now();
  Opening opening;
  opening.model = options.model;
  opening.library = options.library;
  opening.threads = options.threads;
  OnnxRuntimeSession model(runtime, opening);
  measured.load_ms = since(start);
  const std::vector<Entry> entries = options.images.empty() ? std::vector<Entry>() : read_list(options.images);

  if (!options.bench.empty()) {
    std::vector<Image> images;
    std::vector<Tensor> feeds;
    for (size_t i = 0; i < std::min(entries.size(), kTimedImages); ++i) images.push_back(read_image(entries[i]));
    for (Image& image : images) feeds.push_back(tensor_of(image));
    std::vector<float> noise;
    if (!options.shape.empty()) {
      Tensor feed{kFloat, options.shape, nullptr};
      std::mt19937 random(0);
      noise.resize(static_cast<size_t>(feed.size()));
      for (float& value : noise) value = static_cast<float>(random()) / 4294967296.f - 0.5f;
      feed.data = noise.data();
      feeds.push_back(feed);
    }
    time_runs(model, feeds, options.seconds, measured);
  }
  std::string detections;
  if (!options.detect.empty()) {
    const std::vector<int64_t> ids = class_ids(model.metadata("lth_deploy"));
    for (const Entry& entry : entries) {
      Image image = read_image(entry);
      append_results(model, image, ids, options.score, detections);
    }
    write_file(options.detect, "[\n" + detections + "]\n");
  }
  if (!options.bench.empty()) {
    write_file(options.bench,
               report(options, runtime, measured, entries, options.detect.empty() ? nullptr : &detections));
  }
}

}  // namespace

int main(int count, char** arguments) {
  try {
    const std::vector<std::string> given(arguments + 1, arguments + count);
    if (!given.empty() && given[0] == "serve") return serve({given.begin() + 1, given.end()});
    run(read_options(given));
  } catch (const std::exception& error) {
    std::cerr << "lth_consumer: " << error.what() << "\n";
    return 1;
  }
}
