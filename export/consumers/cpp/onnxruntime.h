// ONNX Runtime and one model that it has open.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine.h"
#include "ort_api.h"
#include "shared_library.h"

class OnnxRuntime : public Engine {
 public:
  explicit OnnxRuntime(const std::vector<std::string>& libraries);
  ~OnnxRuntime() override;
  OnnxRuntime(const OnnxRuntime&) = delete;
  OnnxRuntime& operator=(const OnnxRuntime&) = delete;

  std::string version() const override { return base_->version(); }
  std::unique_ptr<Session> open(const Opening& opening) const override;
  const ort::Api& api() const { return *api_; }
  const ort::Env* env() const { return env_; }
  void check(ort::Status* status) const;

 private:
  const SharedLibrary library_;
  const ort::ApiBase* base_ = nullptr;
  const ort::Api* api_ = nullptr;
  ort::Env* env_ = nullptr;
};

class OnnxRuntimeSession : public Session {
 public:
  OnnxRuntimeSession(const OnnxRuntime& runtime, const Opening& opening);
  ~OnnxRuntimeSession() override;
  OnnxRuntimeSession(const OnnxRuntimeSession&) = delete;
  OnnxRuntimeSession& operator=(const OnnxRuntimeSession&) = delete;

  const std::vector<std::string>& input_names() const { return inputs_; }
  std::string metadata(const std::string& key) const;  // "" where there is none
  void run(const std::vector<NamedTensor>& inputs) override;
  std::vector<NamedTensor> outputs() override;

 private:
  void release_values();
  std::string taken(char* text) const;

  const OnnxRuntime& runtime_;
  const ort::Api& api_;
  ort::Allocator* allocator_ = nullptr;
  ort::MemoryInfo* memory_ = nullptr;
  ort::Session* session_ = nullptr;
  std::vector<std::string> inputs_, outputs_;
  std::vector<ort::Value*> values_;
};
