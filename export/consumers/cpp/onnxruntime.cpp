#include "onnxruntime.h"

#include <stdexcept>

OnnxRuntime::OnnxRuntime(const std::vector<std::string>& libraries) : library_("ONNX Runtime", libraries) {
  const ort::ApiBase* (*get_base)() = nullptr;
  library_.find(get_base, "OrtGetApiBase");
  base_ = get_base();
  api_ = base_->api(ort::kApiVersion);
  if (!api_) throw std::runtime_error("ONNX Runtime 1.17 or newer is needed, this is " + version());
  check(api_->create_env(ort::kErrors, "lth_consumer", &env_));
}

OnnxRuntime::~OnnxRuntime() { api_->release_env(env_); }

std::unique_ptr<Session> OnnxRuntime::open(const Opening& opening) const {
  return std::make_unique<OnnxRuntimeSession>(*this, opening);
}

void OnnxRuntime::check(ort::Status* status) const {
  if (!status) return;
  const std::string message = api_->error_message(status);
  api_->release_status(status);
  throw std::runtime_error("ONNX Runtime: " + message);
}

namespace {

// The inputs of one run, released however it ends.
struct Values {
  Values(const ort::Api& api, size_t count) : api(api), values(count, nullptr) {}
  ~Values() {
    for (ort::Value* value : values) {
      if (value) api.release_value(value);
    }
  }
  Values(const Values&) = delete;
  Values& operator=(const Values&) = delete;

  const ort::Api& api;
  std::vector<ort::Value*> values;
};

}  // namespace

OnnxRuntimeSession::OnnxRuntimeSession(const OnnxRuntime& runtime, const Opening& opening)
    : runtime_(runtime), api_(runtime.api()) {
  ort::SessionOptions* made = nullptr;
  runtime_.check(api_.create_session_options(&made));
  const std::unique_ptr<ort::SessionOptions, void (*)(ort::SessionOptions*)> options(made,
                                                                                     api_.release_session_options);
  runtime_.check(api_.set_log_severity(made, ort::kErrors));
  runtime_.check(api_.set_intra_op_threads(made, opening.threads));
  runtime_.check(api_.set_inter_op_threads(made, 1));
  // As lth-deploy benchmark does: idle workers do not spin on after a run.
  runtime_.check(api_.add_config_entry(made, "session.force_spinning_stop", "1"));
  void* handle = nullptr;
  if (!opening.library.empty()) runtime_.check(api_.register_library(made, opening.library.c_str(), &handle));
  runtime_.check(api_.default_allocator(&allocator_));
  runtime_.check(api_.cpu_memory(ort::kDeviceAllocator, ort::kDefaultMemory, &memory_));
  if (ort::Status* const status = api_.create_session(runtime_.env(), opening.model.c_str(), made, &session_)) {
    api_.release_memory_info(memory_);
    runtime_.check(status);
  }
  size_t count = 0;
  char* name = nullptr;
  runtime_.check(api_.input_count(session_, &count));
  for (size_t i = 0; i < count; ++i) {
    runtime_.check(api_.input_name(session_, i, allocator_, &name));
    inputs_.push_back(taken(name));
  }
  runtime_.check(api_.output_count(session_, &count));
  for (size_t i = 0; i < count; ++i) {
    runtime_.check(api_.output_name(session_, i, allocator_, &name));
    outputs_.push_back(taken(name));
  }
}

OnnxRuntimeSession::~OnnxRuntimeSession() {
  release_values();
  api_.release_session(session_);
  api_.release_memory_info(memory_);
}

void OnnxRuntimeSession::release_values() {
  for (ort::Value* value : values_) {
    if (value) api_.release_value(value);
  }
  values_.clear();
}

std::string OnnxRuntimeSession::taken(char* text) const {
  const std::string copy = text ? text : "";
  if (text) runtime_.check(api_.free(allocator_, text));
  return copy;
}

std::string OnnxRuntimeSession::metadata(const std::string& key) const {
  ort::ModelMetadata* all = nullptr;
  runtime_.check(api_.model_metadata(session_, &all));
  char* text = nullptr;
  ort::Status* const status = api_.look_up(all, allocator_, key.c_str(), &text);
  api_.release_model_metadata(all);
  runtime_.check(status);
  return taken(text);
}

void OnnxRuntimeSession::run(const std::vector<NamedTensor>& inputs) {
  release_values();
  Values given(api_, inputs.size());
  std::vector<const char*> given_names, names;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Tensor& input = inputs[i].tensor;
    given_names.push_back(inputs[i].name.c_str());
    runtime_.check(api_.tensor_of(memory_, input.data, input.bytes(), input.dims.data(), input.dims.size(), input.type,
                                  &given.values[i]));
  }
  for (const std::string& name : outputs_) names.push_back(name.c_str());
  values_.assign(outputs_.size(), nullptr);
  runtime_.check(api_.run(session_, nullptr, given_names.data(), given.values.data(), given.values.size(), names.data(),
                          names.size(), values_.data()));
}

std::vector<NamedTensor> OnnxRuntimeSession::outputs() {
  std::vector<NamedTensor> found(values_.size());
  for (size_t i = 0; i < values_.size(); ++i) {
    found[i].name = outputs_[i];
    Tensor& tensor = found[i].tensor;
    ort::TensorInfo* info = nullptr;
    runtime_.check(api_.tensor_info(values_[i], &info));
    const std::unique_ptr<ort::TensorInfo, void (*)(ort::TensorInfo*)> owned(info, api_.release_tensor_info);
    size_t rank = 0;
    runtime_.check(api_.rank(info, &rank));
    tensor.dims.resize(rank);
    runtime_.check(api_.dimensions(info, tensor.dims.data(), rank));
    runtime_.check(api_.element_type(info, &tensor.type));
    runtime_.check(api_.tensor_data(values_[i], &tensor.data));
  }
  return found;
}
