// ncnn on the CPU, in fp32, one image at a time. Its files are made on the host by pnnx, which calls the inputs in0,
// in1, ... and the outputs out0, out1, ...
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine.h"
#include "shared_library.h"

namespace nc {

// Objects of ncnn, only ever held by pointer. A status of 0 means success.
struct Options;
struct Net;
struct Extractor;
struct Matrix;
struct Allocator;

struct Api {
  explicit Api(const SharedLibrary& library);

  const char* (*version)();
  Options* (*create_options)();
  void (*free_options)(Options*);
  void (*set_threads)(Options*, int);
  void (*set_vulkan)(Options*, int);
  std::vector<void (*)(Options*, int)> set_halves;  // each switches a computation in 16 bits
  Net* (*create_net)();
  void (*free_net)(Net*);
  void (*set_options)(Net*, Options*);
  int (*load_layers)(Net*, const char* path);
  int (*load_weights)(Net*, const char* path);
  Extractor* (*create_extractor)(Net*);
  void (*free_extractor)(Extractor*);
  int (*give)(Extractor*, const char* name, const Matrix*);
  int (*extract)(Extractor*, const char* name, Matrix**);
  // Of memory that is somebody else's; then one of its own.
  Matrix* (*matrix_1d)(int w, void* data, Allocator*);
  Matrix* (*matrix_2d)(int w, int h, void* data, Allocator*);
  Matrix* (*matrix_3d)(int w, int h, int c, void* data, Allocator*);
  Matrix* (*own_matrix_3d)(int w, int h, int c, Allocator*);
  void (*free_matrix)(Matrix*);
  int (*rank)(const Matrix*);
  int (*width)(const Matrix*);
  int (*height)(const Matrix*);
  int (*depth)(const Matrix*);  // null in old versions, whose matrices have three dimensions at most
  int (*channels)(const Matrix*);
  size_t (*element_bytes)(const Matrix*);
  void* (*channel)(const Matrix*, int index);
};

}  // namespace nc

class Ncnn : public Engine {
 public:
  explicit Ncnn(const std::vector<std::string>& libraries);

  std::string version() const override { return api_.version(); }
  std::unique_ptr<Session> open(const Opening& opening) const override;
  const nc::Api& api() const { return api_; }

 private:
  const SharedLibrary library_;
  const nc::Api api_;
};

class NcnnSession : public Session {
 public:
  NcnnSession(const Ncnn& engine, const Opening& opening);
  ~NcnnSession() override;
  NcnnSession(const NcnnSession&) = delete;
  NcnnSession& operator=(const NcnnSession&) = delete;

  void run(const std::vector<NamedTensor>& inputs) override;
  std::vector<NamedTensor> outputs() override;

 private:
  void load(const Opening& opening);
  nc::Matrix* matrix_of(const Tensor& input) const;
  void give(const std::vector<NamedTensor>& inputs, nc::Extractor* extractor, std::vector<nc::Matrix*>& given) const;
  void release_outputs();

  const nc::Api& api_;
  const Opening opening_;
  nc::Net* net_ = nullptr;
  std::vector<nc::Matrix*> found_;
  std::vector<std::vector<float>> values_;  // of outputs, without the gaps between the channels of a matrix
};
