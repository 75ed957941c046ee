// ncnn's C API with a network of one layer, for tests: its library is in no package registry. The layers are a file
// "scale S", the weights a file with one number B. out0 is S * in0 + B, out1 the mean of each of its channels, out2 the
// number of threads. Weights are refused while a computation in 16 bits is on. Channels begin at multiples of 16 bytes.
#include <cstddef>
#include <cstring>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))

struct Options {
  int threads = 0;
  std::set<std::string> halves = {"fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"};
};

struct Net {
  Options options;
  float scale = 0, bias = 0;
};

struct Matrix {
  int rank = 0, w = 1, h = 1, c = 1;
  size_t step = 0;
  float* data = nullptr;
  std::vector<float> own;
};

struct Extractor {
  Net* net;
  const Matrix* input = nullptr;
};

static Matrix* made(int rank, int w, int h, int c, float* data) {
  Matrix* const matrix = new Matrix;
  matrix->rank = rank;
  matrix->w = w;
  matrix->h = h;
  matrix->c = c;
  const size_t plane = static_cast<size_t>(w) * static_cast<size_t>(h);
  matrix->step = rank > 2 ? (plane + 3) / 4 * 4 : plane;
  if (!data) matrix->own.assign(matrix->step * static_cast<size_t>(c) + 4, -1e30f);
  matrix->data = data ? data : matrix->own.data();
  return matrix;
}

static void set_half(Options* options, const char* name, int on) {
  if (on) {
    options->halves.insert(name);
  } else {
    options->halves.erase(name);
  }
}

API const char* ncnn_version() { return "1.0.fake"; }
API Options* ncnn_option_create() { return new Options; }
API void ncnn_option_destroy(Options* options) { delete options; }
API void ncnn_option_set_num_threads(Options* options, int threads) { options->threads = threads; }
API void ncnn_option_set_use_vulkan_compute(Options*, int) {}
API void ncnn_option_set_use_fp16_packed(Options* options, int on) { set_half(options, "fp16_packed", on); }
API void ncnn_option_set_use_fp16_storage(Options* options, int on) { set_half(options, "fp16_storage", on); }
API void ncnn_option_set_use_fp16_arithmetic(Options* options, int on) { set_half(options, "fp16_arithmetic", on); }
API void ncnn_option_set_use_bf16_storage(Options* options, int on) { set_half(options, "bf16_storage", on); }
API Net* ncnn_net_create() { return new Net; }
API void ncnn_net_destroy(Net* net) { delete net; }
API void ncnn_net_set_option(Net* net, Options* options) { net->options = *options; }
API int ncnn_net_load_param(Net* net, const char* path) {
  std::ifstream file(path);
  std::string word;
  return file >> word >> net->scale && word == "scale" ? 0 : -1;
}
API int ncnn_net_load_model(Net* net, const char* path) {
  std::ifstream file(path);
  return net->options.halves.empty() && file >> net->bias ? 0 : -1;
}
API Extractor* ncnn_extractor_create(Net* net) { return new Extractor{net}; }
API void ncnn_extractor_destroy(Extractor* extractor) { delete extractor; }
API int ncnn_extractor_input(Extractor* extractor, const char* name, const Matrix* matrix) {
  extractor->input = matrix;
  return std::strcmp(name, "in0") ? -1 : 0;
}
API Matrix* ncnn_mat_create_external_1d(int w, void* data, void*) {
  return made(1, w, 1, 1, static_cast<float*>(data));
}
API Matrix* ncnn_mat_create_external_2d(int w, int h, void* data, void*) {
  return made(2, w, h, 1, static_cast<float*>(data));
}
API Matrix* ncnn_mat_create_external_3d(int w, int h, int c, void* data, void*) {
  return made(3, w, h, c, static_cast<float*>(data));
}
API Matrix* ncnn_mat_create_3d(int w, int h, int c, void*) { return made(3, w, h, c, nullptr); }
API void ncnn_mat_destroy(Matrix* matrix) { delete matrix; }
API int ncnn_mat_get_dims(const Matrix* matrix) { return matrix->rank; }
API int ncnn_mat_get_w(const Matrix* matrix) { return matrix->w; }
API int ncnn_mat_get_h(const Matrix* matrix) { return matrix->h; }
API int ncnn_mat_get_c(const Matrix* matrix) { return matrix->c; }
API size_t ncnn_mat_get_elemsize(const Matrix*) { return sizeof(float); }
API void* ncnn_mat_get_channel_data(const Matrix* matrix, int c) {
  return matrix->data + matrix->step * static_cast<size_t>(c);
}
API int ncnn_extractor_extract(Extractor* extractor, const char* name, Matrix** found) {
  const Matrix& in = *extractor->input;
  const size_t plane = static_cast<size_t>(in.w) * static_cast<size_t>(in.h);
  if (!std::strcmp(name, "out0")) {
    *found = made(in.rank, in.w, in.h, in.c, nullptr);
    for (size_t c = 0; c < static_cast<size_t>(in.c); ++c) {
      for (size_t i = 0; i < plane; ++i) {
        (*found)->data[(*found)->step * c + i] =
            extractor->net->scale * in.data[in.step * c + i] + extractor->net->bias;
      }
    }
  } else if (!std::strcmp(name, "out1")) {
    *found = made(1, in.c, 1, 1, nullptr);
    for (size_t c = 0; c < static_cast<size_t>(in.c); ++c) {
      double sum = 0;
      for (size_t i = 0; i < plane; ++i) sum += in.data[in.step * c + i];
      (*found)->data[c] = static_cast<float>(sum / static_cast<double>(plane));
    }
  } else if (!std::strcmp(name, "out2")) {
    *found = made(1, 1, 1, 1, nullptr);
    (*found)->data[0] = static_cast<float>(extractor->net->options.threads);
  } else {
    *found = new Matrix;
    return -100;
  }
  return 0;
}
