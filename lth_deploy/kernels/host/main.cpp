// A host for the tests of the kernel library.
//   lth_host run NODE OUT THREADS       computes a node's outputs
//   lth_host threads N NODE             N threads on one kernel: every result equals the serial one bit for bit
//   lth_host mutate N SEED NODE...      N damaged nodes: each is refused or computed as the oracle does
//   lth_host parse TEXTS                for every program of a file a line, "ok" or why not
//   lth_host version N                  registers with version N of the API
#include <cmath>
#include <cstring>
#include <iostream>
#include <string>
#include <thread>

#include "mutate.h"
#include "oracle.h"
#include "ort_host.h"
#include "program/program.h"

namespace lth::host {
namespace {

struct Tally {
  int refused = 0;   // when the kernel was to be made
  int unfit = 0;     // when it was to run
  int compared = 0;  // ran, and equals the oracle
  int unjudged = 0;  // ran, and is too large or too wild for the oracle
};

// Empty, or how `found` differs from `wanted`.
std::string difference(const std::vector<Array>& found, const NaiveResult& wanted) {
  for (size_t i = 0; i < found.size(); ++i) {
    const Shape& shape = wanted.shapes[i];
    if (found[i].dims != std::vector<int64_t>(shape.dims.begin(), shape.dims.begin() + shape.rank)) {
      return "output " + std::to_string(i) + " has another shape than the oracle's";
    }
    const double tolerance = wanted.tolerance[i];
    for (size_t k = 0; k < wanted.outputs[i].size(); ++k) {
      float value;
      std::memcpy(&value, found[i].bytes.data() + 4 * k, sizeof value);
      const double exact = wanted.outputs[i][k];
      if (value != exact && !(std::fabs(value - exact) <= tolerance)) {
        return "output " + std::to_string(i) + "[" + std::to_string(k) + "] is " + std::to_string(value) +
               " instead of " + std::to_string(exact);
      }
    }
  }
  return "";
}

// Empty, or what is wrong with the library's answer to `node`.
std::string judge(const Node& node, Tally& tally) {
  std::vector<Array> found;
  try {
    const Kernel kernel(node);
    try {
      found = kernel.run(2);
    } catch (const Refusal& refusal) {
      ++tally.unfit;
      try {
        oracle(node);
      } catch (const std::runtime_error&) {
        return "";
      }
      return std::string("refused inputs that the oracle takes: ") + refusal.what();
    }
  } catch (const Refusal& refusal) {
    ++tally.refused;
    return std::strncmp(refusal.what(), "lth_deploy", 10) == 0 ? "" : "a message that does not say whose it is";
  }
  try {
    const NaiveResult wanted = oracle(node);
    if (!(wanted.scale < 1e30)) {  // also not a number: sums may overflow in single precision
      ++tally.unjudged;
      return "";
    }
    ++tally.compared;
    return difference(found, wanted);
  } catch (const TooLarge&) {
    ++tally.unjudged;
    return "";
  } catch (const Error& error) {
    return std::string("took inputs that the oracle refuses: ") + error.what();
  }
}

int mutate(int count, uint64_t seed, const std::vector<std::string>& paths) {
  std::vector<Node> nodes;
  for (const std::string& path : paths) nodes.push_back(read_node(path));
  Tally tally;
  for (int i = 0; i < count; ++i) {
    Random random(seed + static_cast<uint64_t>(i));
    const Node node = mutated(nodes[random() % nodes.size()], random);
    const std::string wrong = judge(node, tally);
    if (!wrong.empty()) {
      write_node("failed.node", node);
      std::cerr << "seed " << seed + static_cast<uint64_t>(i) << ": " << wrong << "\n" << node.text;
      return 1;
    }
  }
  std::cout << "{\"refused\": " << tally.refused << ", \"unfit\": " << tally.unfit
            << ", \"compared\": " << tally.compared << ", \"unjudged\": " << tally.unjudged << "}\n";
  return 0;
}

int many_threads(int count, const std::string& path) {
  const Node node = read_node(path);
  const Kernel kernel(node);
  const std::vector<Array> serial = kernel.run(1);
  std::vector<int> equal(static_cast<size_t>(count));
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      const std::vector<Array> found = kernel.run(1 + i % 3);
      bool same = true;
      for (size_t k = 0; k < serial.size(); ++k) same = same && found[k].bytes == serial[k].bytes;
      equal[static_cast<size_t>(i)] = same;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int same : equal) {
    if (!same) {
      std::cerr << "a result differs from the serial one\n";
      return 1;
    }
  }
  return 0;
}

int parse(const std::string& path) {
  for (const Text& text : read_texts(path)) {
    try {
      parse_program(text.program, static_cast<int>(text.inputs));
      std::cout << "ok\n";
    } catch (const Error& error) {
      std::cout << error.what() << "\n";
    }
  }
  return 0;
}

int main_of(const std::vector<std::string>& arguments) {
  const std::string mode = arguments.empty() ? "" : arguments[0];
  if (mode == "run" && arguments.size() == 4) {
    const Node node = read_node(arguments[1]);
    write_arrays(arguments[2], Kernel(node).run(std::stoi(arguments[3])));
    return 0;
  }
  if (mode == "threads" && arguments.size() == 3) return many_threads(std::stoi(arguments[1]), arguments[2]);
  if (mode == "mutate" && arguments.size() >= 4) {
    return mutate(std::stoi(arguments[1]), std::stoull(arguments[2]), {arguments.begin() + 3, arguments.end()});
  }
  if (mode == "parse" && arguments.size() == 2) return parse(arguments[1]);
  if (mode == "version" && arguments.size() == 2) {
    register_with(static_cast<uint32_t>(std::stoi(arguments[1])));
    return 0;
  }
  std::cerr << "lth_host run NODE OUT THREADS | threads N NODE | mutate N SEED NODE... | parse TEXTS | version N\n";
  return 2;
}

}  // namespace
}  // namespace lth::host

int main(int count, char** arguments) {
  try {
    return lth::host::main_of({arguments + 1, arguments + count});
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 3;
  }
}
