#include "shared_library.h"

#include <dlfcn.h>

#include <stdexcept>

SharedLibrary::SharedLibrary(const std::string& what, const std::vector<std::string>& names) : what_(what) {
  std::string reasons;
  for (const std::string& name : names) {
    handle_ = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle_) {
      name_ = name;
      return;
    }
    const char* const reason = dlerror();
    reasons += (reasons.empty() ? "" : "; ") + std::string(reason ? reason : "no reason given");
  }
  throw std::runtime_error("cannot load " + what + ": " + (reasons.empty() ? "no library is named" : reasons));
}

void* SharedLibrary::address_or_null(const char* symbol) const { return dlsym(handle_, symbol); }

void* SharedLibrary::address(const char* symbol) const {
  void* const found = address_or_null(symbol);
  if (!found) throw std::runtime_error(name_ + " has no " + symbol + ": it is not " + what_ + ", or too old");
  return found;
}
