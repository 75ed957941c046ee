// The part of ONNX Runtime's C ABI that a client needs, declared by hand: its wheels hold the shared library and no
// headers. ONNX Runtime only ever appends to its tables, so a slot keeps its number; what lies between is skipped over.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine.h"

namespace ort {

constexpr uint32_t kApiVersion = 17;  // ONNX Runtime 1.17, the oldest that folds the decoding of packed weights

// Objects of ONNX Runtime, only ever held by pointer. A Status that is null means success.
struct Status;
struct Env;
struct MemoryInfo;
struct Session;
struct Value;
struct RunOptions;
struct TensorInfo;
struct SessionOptions;
struct ModelMetadata;
struct Allocator;

enum Level : int { kErrors = 3 };
enum AllocatorKind : int { kDeviceAllocator = 0 };
enum MemoryKind : int { kDefaultMemory = 0 };

// After each slot: its number. All of them exist since version 1, but add_config_entry since 5.
struct Api {
  void* skipped_0[2];
  const char* (*error_message)(const Status*);                // 2
  Status* (*create_env)(Level, const char* name, Env** out);  // 3
  void* skipped_4[7 - 4];
  Status* (*create_session)(const Env*, const char* path, const SessionOptions*, Session** out);  // 7
  void* skipped_8;
  Status* (*run)(Session*, const RunOptions*, const char* const* input_names, const Value* const* inputs,
                 size_t n_inputs, const char* const* output_names, size_t n_outputs, Value** outputs);  // 9
  Status* (*create_session_options)(SessionOptions** out);                                              // 10
  void* skipped_11[22 - 11];
  Status* (*set_log_severity)(SessionOptions*, int level);  // 22
  void* skipped_23;
  Status* (*set_intra_op_threads)(SessionOptions*, int threads);  // 24
  Status* (*set_inter_op_threads)(SessionOptions*, int threads);  // 25
  void* skipped_26[29 - 26];
  Status* (*register_library)(SessionOptions*, const char* path, void** handle);  // 29
  Status* (*input_count)(const Session*, size_t* out);                            // 30
  Status* (*output_count)(const Session*, size_t* out);                           // 31
  void* skipped_32[36 - 32];
  Status* (*input_name)(const Session*, size_t index, Allocator*, char** out);   // 36
  Status* (*output_name)(const Session*, size_t index, Allocator*, char** out);  // 37
  void* skipped_38[49 - 38];
  Status* (*tensor_of)(const MemoryInfo*, void* data, size_t bytes, const int64_t* dims, size_t rank, ElementType,
                       Value** out);  // 49
  void* skipped_50;
  Status* (*tensor_data)(Value*, void** out);  // 51
  void* skipped_52[60 - 52];
  Status* (*element_type)(const TensorInfo*, ElementType* out);         // 60
  Status* (*rank)(const TensorInfo*, size_t* out);                      // 61
  Status* (*dimensions)(const TensorInfo*, int64_t* out, size_t rank);  // 62
  void* skipped_63[65 - 63];
  Status* (*tensor_info)(const Value*, TensorInfo** out);  // 65
  void* skipped_66[69 - 66];
  Status* (*cpu_memory)(AllocatorKind, MemoryKind, MemoryInfo** out);  // 69
  void* skipped_70[76 - 70];
  Status* (*free)(Allocator*, void*);  // 76
  void* skipped_77;
  Status* (*default_allocator)(Allocator** out);  // 78
  void* skipped_79[92 - 79];
  void (*release_env)(Env*);                 // 92
  void (*release_status)(Status*);           // 93
  void (*release_memory_info)(MemoryInfo*);  // 94
  void (*release_session)(Session*);         // 95
  void (*release_value)(Value*);             // 96
  void* skipped_97[99 - 97];
  void (*release_tensor_info)(TensorInfo*);          // 99
  void (*release_session_options)(SessionOptions*);  // 100
  void* skipped_101[111 - 101];
  Status* (*model_metadata)(const Session*, ModelMetadata** out);  // 111
  void* skipped_112[116 - 112];
  Status* (*look_up)(const ModelMetadata*, Allocator*, const char* key, char** out);  // 116: null where there is none
  void* skipped_117;
  void (*release_model_metadata)(ModelMetadata*);  // 118
  void* skipped_119[130 - 119];
  Status* (*add_config_entry)(SessionOptions*, const char* key, const char* value);  // 130
};

constexpr size_t slot(size_t offset) { return offset / sizeof(void*); }
static_assert(slot(offsetof(Api, run)) == 9 && slot(offsetof(Api, register_library)) == 29);
static_assert(slot(offsetof(Api, output_name)) == 37 && slot(offsetof(Api, tensor_of)) == 49);
static_assert(slot(offsetof(Api, dimensions)) == 62 && slot(offsetof(Api, cpu_memory)) == 69);
static_assert(slot(offsetof(Api, default_allocator)) == 78 && slot(offsetof(Api, release_env)) == 92);
static_assert(slot(offsetof(Api, look_up)) == 116 && slot(offsetof(Api, add_config_entry)) == 130);

struct ApiBase {
  const Api* (*api)(uint32_t version);  // null where this build is older than `version`
  const char* (*version)();
};

}  // namespace ort
