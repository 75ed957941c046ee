#include "ncnn.h"

#include <algorithm>
#include <climits>
#include <cstring>
#include <stdexcept>

nc::Api::Api(const SharedLibrary& library) {
  library.find(version, "ncnn_version");
  library.find(create_options, "ncnn_option_create");
  library.find(free_options, "ncnn_option_destroy");
  library.find(set_threads, "ncnn_option_set_num_threads");
  library.find(set_vulkan, "ncnn_option_set_use_vulkan_compute");
  for (const char* name : {"ncnn_option_set_use_fp16_packed", "ncnn_option_set_use_fp16_storage",
                           "ncnn_option_set_use_fp16_arithmetic", "ncnn_option_set_use_bf16_storage"}) {
    set_halves.push_back(nullptr);
    library.find(set_halves.back(), name);
  }
  void (*bf16_packed)(Options*, int) = nullptr;
  library.look(bf16_packed, "ncnn_option_set_use_bf16_packed");
  if (bf16_packed) set_halves.push_back(bf16_packed);
  library.find(create_net, "ncnn_net_create");
  library.find(free_net, "ncnn_net_destroy");
  library.find(set_options, "ncnn_net_set_option");
  library.find(load_layers, "ncnn_net_load_param");
  library.find(load_weights, "ncnn_net_load_model");
  library.find(create_extractor, "ncnn_extractor_create");
  library.find(free_extractor, "ncnn_extractor_destroy");
  library.find(give, "ncnn_extractor_input");
  library.find(extract, "ncnn_extractor_extract");
  library.find(matrix_1d, "ncnn_mat_create_external_1d");
  library.find(matrix_2d, "ncnn_mat_create_external_2d");
  library.find(matrix_3d, "ncnn_mat_create_external_3d");
  library.find(own_matrix_3d, "ncnn_mat_create_3d");
  library.find(free_matrix, "ncnn_mat_destroy");
  library.find(rank, "ncnn_mat_get_dims");
  library.find(width, "ncnn_mat_get_w");
  library.find(height, "ncnn_mat_get_h");
  library.look(depth, "ncnn_mat_get_d");
  library.find(channels, "ncnn_mat_get_c");
  library.find(element_bytes, "ncnn_mat_get_elemsize");
  library.find(channel, "ncnn_mat_get_channel_data");
}

Ncnn::Ncnn(const std::vector<std::string>& libraries) : library_("ncnn", libraries), api_(library_) {}

std::unique_ptr<Session> Ncnn::open(const Opening& opening) const {
  return std::make_unique<NcnnSession>(*this, opening);
}

NcnnSession::NcnnSession(const Ncnn& engine, const Opening& opening) : api_(engine.api()), opening_(opening) {
  net_ = api_.create_net();
  try {
    load(opening);
  } catch (...) {
    api_.free_net(net_);
    throw;
  }
}

NcnnSession::~NcnnSession() {
  release_outputs();
  api_.free_net(net_);
}

void NcnnSession::release_outputs() {
  for (nc::Matrix* matrix : found_) api_.free_matrix(matrix);
  found_.clear();
}

void NcnnSession::load(const Opening& opening) {
  nc::Options* const options = api_.create_options();
  api_.set_threads(options, opening.threads);
  api_.set_vulkan(options, 0);
  for (const auto set : api_.set_halves) set(options, 0);
  api_.set_options(net_, options);  // copies them
  api_.free_options(options);
  if (api_.load_layers(net_, opening.model.c_str())) {
    throw std::runtime_error("ncnn cannot read the layers of " + opening.model + ", or lacks one of them");
  }
  if (api_.load_weights(net_, opening.weights.c_str())) {
    throw std::runtime_error("ncnn cannot read the weights of " + opening.weights);
  }
}

// ncnn has no batch: the first dimension, which is 1, is left out.
nc::Matrix* NcnnSession::matrix_of(const Tensor& input) const {
  const std::vector<int64_t>& dims = input.dims;
  if (input.type != kFloat || dims.size() < 2 || dims.size() > 4 || dims[0] != 1 || input.size() > INT_MAX) {
    throw std::runtime_error("ncnn takes one image of float32 at a time");
  }
  std::vector<int> sizes;  // the innermost first
  for (size_t i = dims.size() - 1; i > 0; --i) sizes.push_back(static_cast<int>(dims[i]));
  if (sizes.size() == 1) return api_.matrix_1d(sizes[0], input.data, nullptr);
  if (sizes.size() == 2) return api_.matrix_2d(sizes[0], sizes[1], input.data, nullptr);
  // A channel of a matrix begins at a multiple of 16 bytes.
  const size_t bytes = static_cast<size_t>(sizes[0]) * static_cast<size_t>(sizes[1]) * sizeof(float);
  if (bytes % 16 == 0) return api_.matrix_3d(sizes[0], sizes[1], sizes[2], input.data, nullptr);
  nc::Matrix* const matrix = api_.own_matrix_3d(sizes[0], sizes[1], sizes[2], nullptr);
  for (int c = 0; c < sizes[2]; ++c) {
    std::memcpy(api_.channel(matrix, c), static_cast<const char*>(input.data) + bytes * static_cast<size_t>(c), bytes);
  }
  return matrix;
}

void NcnnSession::give(const std::vector<NamedTensor>& inputs, nc::Extractor* extractor,
                       std::vector<nc::Matrix*>& given) const {
  for (size_t i = 0; i < opening_.inputs.size(); ++i) {
    const auto& [name, shape] = opening_.inputs[i];
    const auto named = std::find_if(inputs.begin(), inputs.end(),
                                    [&, wanted = &name](const NamedTensor& one) { return one.name == *wanted; });
    if (named == inputs.end() || named->tensor.dims != shape) {
      throw std::runtime_error("ncnn has no input " + name + " of the shape to which the model is fixed");
    }
    given.push_back(matrix_of(named->tensor));
    if (api_.give(extractor, ("in" + std::to_string(i)).c_str(), given.back())) {
      throw std::runtime_error("ncnn does not take input " + name);
    }
  }
}

void NcnnSession::run(const std::vector<NamedTensor>& inputs) {
  release_outputs();
  nc::Extractor* const extractor = api_.create_extractor(net_);
  std::vector<nc::Matrix*> given;
  std::string failed;
  try {
    give(inputs, extractor, given);
    for (size_t i = 0; i < opening_.outputs.size(); ++i) {
      found_.push_back(nullptr);
      const int status = api_.extract(extractor, ("out" + std::to_string(i)).c_str(), &found_.back());
      if (status) throw std::runtime_error("ncnn fails at output " + opening_.outputs[i].first);
    }
  } catch (const std::exception& error) {
    failed = error.what();
  }
  for (nc::Matrix* matrix : given) api_.free_matrix(matrix);
  api_.free_extractor(extractor);
  if (!failed.empty()) throw std::runtime_error(failed);
}

std::vector<NamedTensor> NcnnSession::outputs() {
  std::vector<NamedTensor> found;
  values_.assign(found_.size(), {});
  for (size_t i = 0; i < found_.size(); ++i) {
    const nc::Matrix* const matrix = found_[i];
    const int rank = api_.rank(matrix);
    if (api_.element_bytes(matrix) != sizeof(float)) throw std::runtime_error("an output of ncnn is not float32");
    if (rank > 3 && !api_.depth) throw std::runtime_error("this ncnn cannot give outputs of four dimensions");
    std::vector<int64_t> dims = {api_.width(matrix)};
    if (rank > 1) dims.insert(dims.begin(), api_.height(matrix));
    if (rank > 3) dims.insert(dims.begin(), api_.depth(matrix));
    if (rank > 2) dims.insert(dims.begin(), api_.channels(matrix));
    if (rank < 1) dims = {0};
    const size_t channels = rank > 2 ? static_cast<size_t>(dims[0]) : 1;
    std::vector<float>& values = values_[i];
    values.resize(static_cast<size_t>(product_of(dims)));
    const size_t part = channels ? values.size() / channels : 0;
    for (size_t c = 0; c < channels && part; ++c) {
      std::memcpy(values.data() + c * part, api_.channel(matrix, static_cast<int>(c)), part * sizeof(float));
    }
    found.push_back({opening_.outputs[i].first, {kFloat, dims, values.data()}});
  }
  return found;
}
