// The part of ONNX Runtime's C ABI that the library uses, declared by hand: neither its headers nor its library are
// needed to build. ONNX Runtime only ever appends to its tables, so a slot keeps its number for good; what lies
// between the slots used here is skipped over. tests/kernels/ calls every slot under two versions of ONNX Runtime.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lth::ort {

// The oldest version that is accepted, ONNX Runtime 1.18; no slot is younger than version 17.
constexpr uint32_t kApiVersion = 18;

// Objects of ONNX Runtime, only ever held by pointer. A Status that is null means success.
struct Status;
struct SessionOptions;
struct CustomOpDomain;
struct KernelInfo;
struct KernelContext;
struct Value;
struct TensorInfo;
struct CustomOp;

enum ErrorCode : int { kFail = 1, kInvalidArgument = 2 };
enum ElementType : int {
  kUndefined = 0, kFloat = 1, kUint8 = 2, kInt8 = 3, kInt32 = 6, kInt64 = 7, kFloat16 = 10, kBfloat16 = 16
};
enum Characteristic : int { kRequired = 0, kOptional = 1, kVariadic = 2 };

// The table of functions. After each slot: its number, and the version of the API that brought it.
// Functions that write text take its buffer (null: only ask for the size) and the size, with the final zero.
struct Api {
  Status* (*create_status)(ErrorCode code, const char* message);  // 0, 1
  void* skipped_1;
  const char* (*error_message)(const Status*);  // 2, 1
  void* skipped_3[26 - 3];
  Status* (*create_domain)(const char* name, CustomOpDomain** out);  // 26, 1
  Status* (*domain_add)(CustomOpDomain*, const CustomOp*);           // 27, 1
  Status* (*options_add_domain)(SessionOptions*, CustomOpDomain*);   // 28, 1
  void* skipped_29[51 - 29];
  Status* (*tensor_data)(Value*, void** out);  // 51, 1
  void* skipped_52[60 - 52];
  Status* (*element_type)(const TensorInfo*, ElementType* out);         // 60, 1
  Status* (*rank)(const TensorInfo*, size_t* out);                      // 61, 1
  Status* (*dimensions)(const TensorInfo*, int64_t* out, size_t rank);  // 62, 1
  void* skipped_63[65 - 63];
  Status* (*tensor_info)(const Value*, TensorInfo** out);  // 65, 1
  void* skipped_66[85 - 66];
  Status* (*float_attribute)(const KernelInfo*, const char* name, float* out);                // 85, 1
  Status* (*int_attribute)(const KernelInfo*, const char* name, int64_t* out);                // 86, 1
  Status* (*string_attribute)(const KernelInfo*, const char* name, char* out, size_t* size);  // 87, 1
  void* skipped_88[90 - 88];
  Status* (*input)(const KernelContext*, size_t index, const Value** out);                         // 90, 1
  Status* (*output)(KernelContext*, size_t index, const int64_t* dims, size_t rank, Value** out);  // 91, 1
  void* skipped_92;
  void (*release_status)(Status*);  // 93, 1
  void* skipped_94[99 - 94];
  void (*release_tensor_info)(TensorInfo*);  // 99, 1
  void* skipped_100[230 - 100];
  Status* (*input_count)(const KernelInfo*, size_t* out);   // 230, 14
  Status* (*output_count)(const KernelInfo*, size_t* out);  // 231, 14
  void* skipped_232[244 - 232];
  Status* (*node_name)(const KernelInfo*, char* out, size_t* size);  // 244, 15
  void* skipped_245[249 - 245];
  Status* (*constant_input)(const KernelInfo*, size_t index, int* is_constant, const Value** out);  // 249, 15
  void* skipped_250[274 - 250];
  Status* (*parallel_for)(const KernelContext*, void (*fn)(void*, size_t), size_t total, size_t batches,
                          void* user);  // 274, 17
};

constexpr size_t slot(size_t offset) { return offset / sizeof(void*); }
static_assert(slot(offsetof(Api, options_add_domain)) == 28 && slot(offsetof(Api, tensor_data)) == 51);
static_assert(slot(offsetof(Api, dimensions)) == 62 && slot(offsetof(Api, tensor_info)) == 65);
static_assert(slot(offsetof(Api, float_attribute)) == 85 && slot(offsetof(Api, int_attribute)) == 86);
static_assert(slot(offsetof(Api, string_attribute)) == 87 && slot(offsetof(Api, output)) == 91);
static_assert(slot(offsetof(Api, release_status)) == 93 && slot(offsetof(Api, release_tensor_info)) == 99);
static_assert(slot(offsetof(Api, output_count)) == 231 && slot(offsetof(Api, node_name)) == 244);
static_assert(slot(offsetof(Api, constant_input)) == 249 && slot(offsetof(Api, parallel_for)) == 274);

// What the entry point of a library gets.
struct ApiBase {
  const Api* (*api)(uint32_t version);  // null where this build is older than `version`
  const char* (*version)();
};

// An operator, as its author describes it. ONNX Runtime reads only the fields that `version` promises.
struct CustomOp {
  uint32_t version;
  void* (*create)(const CustomOp*, const Api*, const KernelInfo*);
  const char* (*name)(const CustomOp*);
  const char* (*provider)(const CustomOp*);  // null: the CPU
  ElementType (*input_type)(const CustomOp*, size_t index);
  size_t (*input_types)(const CustomOp*);
  ElementType (*output_type)(const CustomOp*, size_t index);
  size_t (*output_types)(const CustomOp*);
  void (*compute)(void* kernel, KernelContext*);
  void (*destroy)(void* kernel);
  Characteristic (*input_characteristic)(const CustomOp*, size_t index);  // from version 8 on
  Characteristic (*output_characteristic)(const CustomOp*, size_t index);
  int (*input_memory)(const CustomOp*, size_t index);  // from version 13 on; 0: the provider's own
  int (*min_inputs)(const CustomOp*);                  // from version 14 on: of the variadic ones
  int (*inputs_alike)(const CustomOp*);                // 1: all of one type
  int (*min_outputs)(const CustomOp*);
  int (*outputs_alike)(const CustomOp*);
  Status* (*create_v2)(const CustomOp*, const Api*, const KernelInfo*, void** kernel);  // from version 16 on
  Status* (*compute_v2)(void* kernel, KernelContext*);
};

constexpr uint32_t kCustomOpVersion = 16;

}  // namespace lth::ort
