#include "openvino.h"

#include <stdexcept>

ov::Api::Api(const SharedLibrary& library) {
  library.find(get_version, "ov_get_openvino_version");
  library.find(free_version, "ov_version_free");
  library.look(last_message, "ov_get_last_err_msg");
  library.find(status_text, "ov_get_error_info");
  library.find(create_core, "ov_core_create");
  library.find(free_core, "ov_core_free");
  library.find(read_model, "ov_core_read_model");
  library.find(free_model, "ov_model_free");
  library.find(reshape, "ov_model_reshape");
  library.find(count_outputs, "ov_model_outputs_size");
  library.find(input_port, "ov_model_const_input_by_name");
  library.find(element_type, "ov_port_get_element_type");
  library.find(free_port, "ov_output_const_port_free");
  library.find(compile, "ov_core_compile_model");
  library.find(free_compiled, "ov_compiled_model_free");
  library.find(create_request, "ov_compiled_model_create_infer_request");
  library.find(free_request, "ov_infer_request_free");
  library.find(set_tensor, "ov_infer_request_set_tensor");
  library.find(infer, "ov_infer_request_infer");
  library.find(output_tensor, "ov_infer_request_get_output_tensor_by_index");
  library.find(tensor_of, "ov_tensor_create_from_host_ptr");
  library.find(tensor_shape, "ov_tensor_get_shape");
  library.find(free_shape, "ov_shape_free");
  library.find(tensor_bytes, "ov_tensor_get_byte_size");
  library.find(tensor_data, "ov_tensor_data");
  library.find(free_tensor, "ov_tensor_free");
}

OpenVino::OpenVino(const std::vector<std::string>& libraries) : library_("OpenVINO", libraries), api_(library_) {
  check(api_.create_core(&core_));
}

OpenVino::~OpenVino() { api_.free_core(core_); }

std::string OpenVino::version() const {
  ov::Version version{};
  check(api_.get_version(&version));
  const std::string number = version.number ? version.number : "";
  api_.free_version(&version);
  return number.substr(0, number.find('-'));  // the build follows
}

void OpenVino::check(ov::Status status) const {
  if (status == 0) return;
  const char* const said = api_.last_message ? api_.last_message() : nullptr;
  const char* const text = said && *said ? said : api_.status_text(status);
  throw std::runtime_error("OpenVINO: " + std::string(text ? text : "no reason given"));
}

std::unique_ptr<Session> OpenVino::open(const Opening& opening) const {
  return std::make_unique<OpenVinoSession>(*this, opening);
}

OpenVinoSession::OpenVinoSession(const OpenVino& engine, const Opening& opening)
    : engine_(engine), api_(engine.api()), outputs_(opening.outputs) {
  try {
    compile(opening);
  } catch (...) {
    release();
    throw;
  }
}

OpenVinoSession::~OpenVinoSession() { release(); }

void OpenVinoSession::release() {
  release_outputs();
  if (request_) api_.free_request(request_);
  if (compiled_) api_.free_compiled(compiled_);
  if (model_) api_.free_model(model_);
}

void OpenVinoSession::release_outputs() {
  for (ov::Tensor* tensor : found_) api_.free_tensor(tensor);
  found_.clear();
}

void OpenVinoSession::compile(const Opening& opening) {
  engine_.check(api_.read_model(engine_.core(), opening.model.c_str(), nullptr, &model_));
  size_t count = 0;
  engine_.check(api_.count_outputs(model_, &count));
  if (count != outputs_.size()) {
    throw std::runtime_error("OpenVINO finds " + std::to_string(count) + " outputs in a model of " +
                             std::to_string(outputs_.size()));
  }
  if (!opening.inputs.empty()) fix(model_, opening);
  // On servers OpenVINO computes in bf16 by default, on Arm in fp16.
  const std::string threads = std::to_string(opening.threads);
  engine_.check(api_.compile(engine_.core(), model_, "CPU", 8, &compiled_, "PERFORMANCE_HINT", "LATENCY", "NUM_STREAMS",
                             "1", "INFERENCE_PRECISION_HINT", "f32", "INFERENCE_NUM_THREADS", threads.c_str()));
  engine_.check(api_.create_request(compiled_, &request_));
}

void OpenVinoSession::fix(ov::Model* model, const Opening& opening) const {
  std::vector<const char*> names;
  std::vector<std::vector<ov::Dimension>> dims;
  std::vector<ov::PartialShape> shapes;
  for (const auto& [name, sizes] : opening.inputs) {
    names.push_back(name.c_str());
    std::vector<ov::Dimension> fixed;
    for (const int64_t size : sizes) fixed.push_back({size, size});
    dims.push_back(std::move(fixed));
  }
  for (std::vector<ov::Dimension>& one : dims) {
    const int64_t rank = static_cast<int64_t>(one.size());
    shapes.push_back({{rank, rank}, one.data()});
  }
  engine_.check(api_.reshape(model, names.data(), shapes.data(), names.size()));
}

void OpenVinoSession::run(const std::vector<NamedTensor>& inputs) {
  for (const NamedTensor& input : inputs) give(input);
  engine_.check(api_.infer(request_));
}

void OpenVinoSession::give(const NamedTensor& input) {
  std::vector<int64_t> dims = input.tensor.dims;
  ov::Tensor* tensor = nullptr;
  engine_.check(api_.tensor_of(type_of(input.name), {static_cast<int64_t>(dims.size()), dims.data()},
                               input.tensor.data, &tensor));
  size_t bytes = 0;
  ov::Status status = api_.tensor_bytes(tensor, &bytes);
  const bool fits = bytes == input.tensor.bytes();
  if (status == 0 && fits) status = api_.set_tensor(request_, input.name.c_str(), tensor);
  api_.free_tensor(tensor);  // the request has it now
  engine_.check(status);
  if (!fits) throw std::runtime_error("input " + input.name + " has another type in the model");
}

ov::ElementType OpenVinoSession::type_of(const std::string& input) {
  const auto known = types_.find(input);
  if (known != types_.end()) return known->second;
  ov::Port* port = nullptr;
  engine_.check(api_.input_port(model_, input.c_str(), &port));
  ov::ElementType type = 0;
  const ov::Status status = api_.element_type(port, &type);
  api_.free_port(port);
  engine_.check(status);
  return types_[input] = type;
}

std::vector<NamedTensor> OpenVinoSession::outputs() {
  release_outputs();
  std::vector<NamedTensor> found(outputs_.size());
  for (size_t i = 0; i < found.size(); ++i) {
    found[i].name = outputs_[i].first;
    Tensor& tensor = found[i].tensor;
    tensor.type = static_cast<ElementType>(outputs_[i].second);
    found_.push_back(nullptr);
    engine_.check(api_.output_tensor(request_, i, &found_.back()));
    ov::Shape shape{};
    engine_.check(api_.tensor_shape(found_.back(), &shape));
    tensor.dims.assign(shape.dims, shape.dims + shape.rank);
    api_.free_shape(&shape);
    engine_.check(api_.tensor_data(found_.back(), &tensor.data));
    size_t bytes = 0;
    engine_.check(api_.tensor_bytes(found_.back(), &bytes));
    if (bytes != tensor.bytes()) throw std::runtime_error("output " + found[i].name + " has another type in OpenVINO");
  }
  return found;
}
