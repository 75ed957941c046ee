// An engine that was taken from a shared library at run time, and one model that it has open. Everything throws
// std::runtime_error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

// ONNX's numbers; of the others only the width in bytes matters.
enum ElementType : int { kFloat = 1, kUint8 = 2, kInt64 = 7 };

// What one run needs and gives. `data` of an output lives until the next run.
struct Tensor {
  ElementType type = kFloat;
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

// A product of dimensions that come from a library or a file.
int64_t product_of(const std::vector<int64_t>& dims);

// What a session is opened with. Engines that do not keep ONNX's own names and types are given them here.
struct Opening {
  std::string model;    // the file
  std::string weights;  // a second file; "" where the engine has one only
  std::string library;  // with the kernels of lth_deploy; "" for the operators of the engine
  int threads = 1;
  // In the order of the file. inputs: the shapes to which they are fixed; none leaves open what the file leaves open.
  std::vector<std::pair<std::string, std::vector<int64_t>>> inputs;
  std::vector<std::pair<std::string, int>> outputs;  // with ONNX's type of each
};

class Session {
 public:
  virtual ~Session() = default;
  virtual void run(const std::vector<NamedTensor>& inputs) = 0;
  // Of the last run, in the order of the file.
  virtual std::vector<NamedTensor> outputs() = 0;
};

class Engine {
 public:
  virtual ~Engine() = default;
  virtual std::string version() const = 0;
  virtual std::unique_ptr<Session> open(const Opening& opening) const = 0;
};

// name: onnxruntime, openvino or ncnn. libraries: paths or names, of which the first that can be loaded is taken.
std::unique_ptr<Engine> load_engine(const std::string& name, const std::vector<std::string>& libraries);
