// What ONNX Runtime calls for every session that registers the library.
#include <map>
#include <mutex>
#include <string>

#include "ort/custom_op.h"
#include "ort/ort_access.h"

namespace lth {
namespace {

// A domain is shared by all sessions and never released: sessions may outlive everything that could own it.
ort::CustomOpDomain* domain_of(const ort::Api& api) {
  static std::mutex lock;
  static auto* const domains = new std::map<const ort::Api*, ort::CustomOpDomain*>;  // one for each ONNX Runtime
  const std::lock_guard<std::mutex> hold(lock);
  ort::CustomOpDomain*& domain = (*domains)[&api];
  if (!domain) {
    ort::CustomOpDomain* made = nullptr;
    ort::check(api, api.create_domain("com.lth_deploy", &made));
    for (int i = 0; i < kRegionOps; ++i) ort::check(api, api.domain_add(made, region_op(i)));
    ort::check(api, api.domain_add(made, roi_align_op()));
    domain = made;
  }
  return domain;
}

ort::Status* refuse_version(const ort::ApiBase& base) {
  const ort::Api* oldest = base.api(1);
  if (!oldest) return nullptr;  // nothing to complain with: the model's standard operators run
  const std::string message = std::string("lth_deploy: its kernels need ONNX Runtime 1.18 or newer, this is ") +
                              base.version() + "; update onnxruntime, or open the session without the library";
  return oldest->create_status(ort::kFail, message.c_str());
}

}  // namespace
}  // namespace lth

extern "C" __attribute__((visibility("default"))) lth::ort::Status* RegisterCustomOps(
    lth::ort::SessionOptions* options, const lth::ort::ApiBase* base) noexcept {
  const lth::ort::Api* api = base->api(lth::ort::kApiVersion);
  try {
    if (!api) return lth::refuse_version(*base);
    return api->options_add_domain(options, lth::domain_of(*api));
  } catch (...) {
    return api ? lth::status_of_exception(*api, "") : nullptr;
  }
}
