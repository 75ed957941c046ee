// The part of OpenVINO's C API that a client needs, declared by hand: its wheel holds a shared library and no headers.
// OpenVINO's numbers of element types change between versions, so none is written here: the model itself says which one
// an input has.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shared_library.h"

namespace ov {

// Objects of OpenVINO, only ever held by pointer. A status of 0 means success.
struct Core;
struct Model;
struct CompiledModel;
struct Request;
struct Tensor;
struct Port;
using Status = int;
using ElementType = int;

struct Version {
  const char* number;
  const char* description;
};

struct Shape {
  int64_t rank;
  int64_t* dims;
};

struct Dimension {
  int64_t least, most;
};

struct PartialShape {
  Dimension rank;
  Dimension* dims;
};

struct Api {
  explicit Api(const SharedLibrary& library);

  Status (*get_version)(Version*);
  void (*free_version)(Version*);
  const char* (*last_message)();  // null in old versions
  const char* (*status_text)(Status);
  Status (*create_core)(Core**);
  void (*free_core)(Core*);
  Status (*read_model)(const Core*, const char* path, const char* weights, Model**);
  void (*free_model)(Model*);
  Status (*reshape)(const Model*, const char** names, const PartialShape*, size_t count);
  Status (*count_outputs)(const Model*, size_t*);
  Status (*input_port)(const Model*, const char* name, Port**);
  Status (*element_type)(const Port*, ElementType*);
  void (*free_port)(Port*);
  // words: keys and values of properties, all of them const char*, follow the model.
  Status (*compile)(const Core*, const Model*, const char* device, size_t words, CompiledModel**, ...);
  void (*free_compiled)(CompiledModel*);
  Status (*create_request)(const CompiledModel*, Request**);
  void (*free_request)(Request*);
  Status (*set_tensor)(Request*, const char* name, const Tensor*);
  Status (*infer)(Request*);
  Status (*output_tensor)(const Request*, size_t index, Tensor**);
  Status (*tensor_of)(ElementType, Shape, void* data, Tensor**);
  Status (*tensor_shape)(const Tensor*, Shape*);
  void (*free_shape)(Shape*);
  Status (*tensor_bytes)(const Tensor*, size_t*);
  Status (*tensor_data)(const Tensor*, void**);
  void (*free_tensor)(Tensor*);
};

}  // namespace ov
