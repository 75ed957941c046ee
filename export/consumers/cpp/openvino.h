// OpenVINO on the CPU, in fp32, for one caller with one image: the same settings as in lth-deploy benchmark.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine.h"
#include "openvino_api.h"

class OpenVino : public Engine {
 public:
  explicit OpenVino(const std::vector<std::string>& libraries);
  ~OpenVino() override;
  OpenVino(const OpenVino&) = delete;
  OpenVino& operator=(const OpenVino&) = delete;

  std::string version() const override;
  std::unique_ptr<Session> open(const Opening& opening) const override;
  const ov::Api& api() const { return api_; }
  const ov::Core* core() const { return core_; }
  void check(ov::Status status) const;

 private:
  const SharedLibrary library_;
  const ov::Api api_;
  ov::Core* core_ = nullptr;
};

class OpenVinoSession : public Session {
 public:
  OpenVinoSession(const OpenVino& engine, const Opening& opening);
  ~OpenVinoSession() override;
  OpenVinoSession(const OpenVinoSession&) = delete;
  OpenVinoSession& operator=(const OpenVinoSession&) = delete;

  void run(const std::vector<NamedTensor>& inputs) override;
  std::vector<NamedTensor> outputs() override;

 private:
  void compile(const Opening& opening);
  void fix(ov::Model* model, const Opening& opening) const;
  void give(const NamedTensor& input);
  ov::ElementType type_of(const std::string& input);
  void release_outputs();
  void release();

  const OpenVino& engine_;
  const ov::Api& api_;
  const std::vector<std::pair<std::string, int>> outputs_;
  ov::Model* model_ = nullptr;  // knows the types of inputs
  ov::CompiledModel* compiled_ = nullptr;
  ov::Request* request_ = nullptr;
  std::map<std::string, ov::ElementType> types_;  // of inputs
  std::vector<ov::Tensor*> found_;
};
