// The one exception of the library.
#pragma once

#include <stdexcept>

namespace lth {

// A file, an attribute or a shape that cannot be accepted. The message says what was found and what is allowed.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace lth
