// Works for `lth-deploy benchmark --host`: requests come in, figures and outputs go out; see wire.h.
#pragma once

#include <string>
#include <vector>

// serve --runtime FILE [--root FOLDER] [--silence SECONDS]; ends with the standard input.
int serve(const std::vector<std::string>& arguments);
