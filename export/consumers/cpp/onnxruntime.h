// ONNX Runtime, taken from a shared library at run time, and one open model. Everything throws std::runtime_error.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ort_api.h"

// What one run needs and gives. `data` of an output lives until the next run.
struct Tensor {
  ort::ElementType type = ort::kFloat;
  std::vector<int64_t> dims;
  void* data = nullptr;

  int64_t size() const;
  size_t bytes() const;
};

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

size_t width_of(int type);  // bytes of an element of ONNX's type

class Runtime {
 public:
  explicit Runtime(const std::string& shared_library);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  std::string version() const { return base_->version(); }
  const ort::Api& api() const { return *api_; }
  const ort::Env* env() const { return env_; }
  void check(ort::Status* status) const;

 private:
  const ort::ApiBase* base_ = nullptr;
  const ort::Api* api_ = nullptr;
  ort::Env* env_ = nullptr;
};

class Model {
 public:
  // library: with the kernels of lth_deploy; "" runs the model's standard operators.
  Model(const Runtime& runtime, const std::string& path, const std::string& library, int threads);
  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const std::vector<std::string>& inputs() const { return inputs_; }
  const std::vector<std::string>& outputs() const { return outputs_; }
  std::string metadata(const std::string& key) const;  // "" where there is none
  // Outputs in the order of outputs().
  std::vector<Tensor> run(const Tensor& input);
  std::vector<Tensor> run(const std::vector<NamedTensor>& inputs);

 private:
  void release_values();
  std::vector<Tensor> found_tensors() const;
  std::string taken(char* text) const;

  const Runtime& runtime_;
  const ort::Api& api_;
  ort::Allocator* allocator_ = nullptr;
  ort::MemoryInfo* memory_ = nullptr;
  ort::Session* session_ = nullptr;
  std::vector<std::string> inputs_, outputs_;
  std::vector<ort::Value*> values_;
};
