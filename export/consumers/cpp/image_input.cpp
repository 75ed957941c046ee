#include "image_input.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <stdexcept>
#include <utility>

#include "image_file.h"
#include "resample.h"
#include "wire.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kLargestSide = 32768, kLargestCanvas = int64_t{1} << 26;
constexpr int kFloat16 = 10;

double between(Clock::time_point start, Clock::time_point end) {
  return std::chrono::duration<double, std::milli>(end - start).count();
}

struct Size {
  int64_t height, width;
};

// How an image becomes an input.
class Plan {
 public:
  explicit Plan(const std::vector<std::string>& words) {
    if (words.size() < 5 || words.size() % 2 == 0) throw std::runtime_error("image needs SLOT PATH NAME INPUT ...");
    for (size_t i = 5; i < words.size(); i += 2) given_[words[i]] = words[i + 1];
  }

  const std::string& text(const std::string& key) const {
    const auto found = given_.find(key);
    if (found == given_.end()) throw std::runtime_error("image has no " + key);
    return found->second;
  }
  bool has(const std::string& key) const { return given_.count(key) > 0; }
  Size size(const std::string& key, int64_t least) const {
    const std::vector<int64_t> dims = dims_of(text(key));
    if (dims.size() != 2) throw std::runtime_error("image needs HEIGHTxWIDTH for " + key);
    for (const int64_t dim : dims) whole(std::to_string(dim), least, kLargestSide);
    return {dims[0], dims[1]};
  }
  std::vector<double> numbers(const std::string& key, size_t count) const {
    std::vector<double> found;
    const std::string& list = text(key);
    for (size_t at = 0; at <= list.size();) {
      const size_t comma = std::min(list.find(',', at), list.size());
      const std::string one = list.substr(at, comma - at);
      char* end = nullptr;
      found.push_back(std::strtod(one.c_str(), &end));
      if (one.empty() || *end || !std::isfinite(found.back())) throw std::runtime_error("image has a wrong " + key);
      at = comma + 1;
    }
    if (found.size() != count) throw std::runtime_error("image has a wrong number of values for " + key);
    return found;
  }

 private:
  std::map<std::string, std::string> given_;
};

void read_pad(const Plan& plan, uint8_t* pad) {
  const std::vector<double> values = plan.numbers("pad", 3);
  for (int c = 0; c < 3; ++c) {
    if (values[c] < 0 || values[c] > 255) throw std::runtime_error("image has a wrong pad");
    pad[c] = static_cast<uint8_t>(values[c]);
  }
}

// Where the pixels of a line of the canvas lie in the image.
std::vector<double> positions(int64_t count, double edge, double ratio, int64_t size) {
  std::vector<double> found;
  for (int64_t i = 0; i < count; ++i) {
    const double position = (static_cast<double>(i) - edge) / ratio;
    found.push_back(std::min(std::max(position, -1.0), static_cast<double>(size)));
  }
  return found;
}

Image on_canvas(Image image, const Plan& plan) {
  const std::string& method = plan.text("resize");
  if (method == "none") return image;
  const Size canvas = plan.size("canvas", 1);
  if (canvas.height * canvas.width > kLargestCanvas) throw std::runtime_error("the input is too large for an image");
  uint8_t pad[3];
  read_pad(plan, pad);
  if (method == "affine") {
    const std::vector<double> how = plan.numbers("affine", 3);
    if (how[0] <= 0) throw std::runtime_error("image has a wrong affine");
    return warped(image, positions(canvas.height, how[1], how[0], image.height),
                  positions(canvas.width, how[2], how[0], image.width), pad);
  }
  const Size inner = plan.size("inner", 1), corner = plan.size("corner", 0);
  if (corner.height + inner.height > canvas.height || corner.width + inner.width > canvas.width) {
    throw std::runtime_error("image does not fit on its canvas");
  }
  image = resized(image, inner.height, inner.width, method, plan.text("first") == "height");
  if (inner.height == canvas.height && inner.width == canvas.width) return image;
  Image found;
  found.height = canvas.height;
  found.width = canvas.width;
  found.rgb.resize(static_cast<size_t>(3 * canvas.height * canvas.width));
  for (size_t i = 0; i < found.rgb.size(); ++i) found.rgb[i] = pad[i % 3];
  for (int64_t y = 0; y < inner.height; ++y) {
    const auto from = image.rgb.begin() + 3 * y * inner.width;
    std::copy(from, from + 3 * inner.width,
              found.rgb.begin() + 3 * ((corner.height + y) * canvas.width + corner.width));
  }
  return found;
}

// To the nearest half, ties to even.
uint16_t half_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t rest = bits & 0x7fffffff;
  if (rest > 0x7f800000) return sign | 0x7e00;
  if (rest >= 0x477ff000) return sign | 0x7c00;
  if (rest < 0x38800000) {  // subnormal: whole multiples of 2^-24
    float magnitude;
    std::memcpy(&magnitude, &rest, sizeof magnitude);
    return sign | static_cast<uint16_t>(std::nearbyint(magnitude * 16777216.f));
  }
  const uint32_t rounded = rest + 0xfff + (rest >> 13 & 1);
  return sign | static_cast<uint16_t>((rounded - 0x38000000) >> 13);
}

// What each byte of one channel becomes, in the arithmetic of float32.
std::vector<float> table_of(const Plan& plan, int channel) {
  std::vector<float> table(256);
  for (int i = 0; i < 256; ++i) table[static_cast<size_t>(i)] = static_cast<float>(i);
  if (!plan.has("values")) return table;
  const std::vector<double> how = plan.numbers("values", 7);
  const auto scale = static_cast<float>(how[0]), mean = static_cast<float>(how[1 + channel]),
             deviation = static_cast<float>(how[4 + channel]);
  for (float& value : table) {
    value *= scale;
    value -= mean;
    value /= deviation;
  }
  return table;
}

template <class T, class Convert>
void fill(const Image& canvas, const Plan& plan, bool is_planar, T* out, Convert&& convert) {
  const bool is_reversed = plan.text("order") == "bgr";
  const size_t area = canvas.rgb.size() / 3;
  for (int channel = 0; channel < 3; ++channel) {
    std::vector<T> values;
    for (const float one : table_of(plan, channel)) values.push_back(convert(one));
    const uint8_t* in = canvas.rgb.data() + (is_reversed ? 2 - channel : channel);
    T* to = is_planar ? out + channel * area : out + channel;
    for (size_t i = 0; i < area; ++i) to[is_planar ? i : 3 * i] = values[in[3 * i]];
  }
}

Tensor shaped(const Image& canvas, const Plan& plan) {
  const std::string& layout = plan.text("layout");
  Tensor tensor;
  tensor.type = static_cast<ElementType>(whole(plan.text("type"), 1, 1000));
  if (layout == "NCHW" || layout == "CHW") {
    tensor.dims = {3, canvas.height, canvas.width};
  } else if (layout == "NHWC" || layout == "HWC") {
    tensor.dims = {canvas.height, canvas.width, 3};
  } else {
    throw std::runtime_error("image has an unknown layout " + layout);
  }
  if (layout[0] == 'N') tensor.dims.insert(tensor.dims.begin(), 1);
  return tensor;
}

}  // namespace

ImageInput read_input(const std::vector<std::string>& words) {
  const Plan plan(words);
  const Size stored = plan.size("stored", 1);
  const int64_t orientation = whole(plan.text("orientation"), 1, 8);
  const auto start = Clock::now();
  Image image = decode_image(read_bytes(words[2], words[3]), words[3]);
  if (image.height != stored.height || image.width != stored.width) {
    throw std::runtime_error(words[3] + " has another size here than on the host");
  }
  image = upright(std::move(image), orientation);
  const auto read = Clock::now();
  image = on_canvas(std::move(image), plan);
  ImageInput input;
  input.tensor = shaped(image, plan);
  input.bytes.resize(input.tensor.bytes());
  const bool is_planar = plan.text("layout").back() == 'W';
  if (input.tensor.type == kFloat) {
    fill(image, plan, is_planar, reinterpret_cast<float*>(input.bytes.data()), [](float value) { return value; });
  } else if (input.tensor.type == kFloat16) {
    fill(image, plan, is_planar, reinterpret_cast<uint16_t*>(input.bytes.data()), half_of);
  } else if (input.tensor.type == kUint8 && !plan.has("values")) {
    fill(image, plan, is_planar, input.bytes.data(), [](float value) { return static_cast<uint8_t>(value); });
  } else {
    throw std::runtime_error("images are not read as values of ONNX's type " + std::to_string(input.tensor.type));
  }
  input.tensor.data = input.bytes.data();
  input.read_ms = between(start, read);
  input.prepare_ms = between(read, Clock::now());
  return input;
}
