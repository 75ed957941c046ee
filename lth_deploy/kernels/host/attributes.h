// Attributes of a node, as ONNX Runtime hands them out.
#pragma once

#include "node_file.h"

namespace lth::host {

// Of several with one name the first. Throw std::runtime_error where there is none of this name and type.
std::string string_of(const Node& node, const std::string& name);
int64_t int_of(const Node& node, const std::string& name);
float float_of(const Node& node, const std::string& name);

}  // namespace lth::host
