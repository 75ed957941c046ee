// A shared library that is loaded at run time. It is never closed: engines start threads.
#pragma once

#include <string>
#include <vector>

class SharedLibrary {
 public:
  // what: the engine, for messages. names: paths or names, of which the first that can be loaded is taken.
  SharedLibrary(const std::string& what, const std::vector<std::string>& names);

  const std::string& name() const { return name_; }

  // A function of the library. Throws where it has none.
  template <class F>
  void find(F*& function, const char* symbol) const {
    function = reinterpret_cast<F*>(address(symbol));
  }
  // Null where the library has none.
  template <class F>
  void look(F*& function, const char* symbol) const {
    function = reinterpret_cast<F*>(address_or_null(symbol));
  }

 private:
  void* address(const char* symbol) const;
  void* address_or_null(const char* symbol) const;

  std::string what_, name_;
  void* handle_ = nullptr;
};
