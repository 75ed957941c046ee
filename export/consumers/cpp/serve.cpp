#include "serve.h"

#include <sched.h>
#include <unistd.h>

#include <cstring>
#include <stdexcept>

#include "facts.h"
#include "sensors.h"
#include "sessions.h"
#include "store.h"
#include "wire.h"

namespace {

constexpr int kProtocol = 3;

struct Options {
  std::string root;
  int silence = 60;
};

Options read_options(const std::vector<std::string>& arguments) {
  Options options;
  for (size_t i = 0; i < arguments.size(); i += 2) {
    if (i + 1 == arguments.size()) throw std::runtime_error(arguments[i] + " needs a value");
    if (arguments[i] == "--root") {
      options.root = arguments[i + 1];
    } else if (arguments[i] == "--silence") {
      options.silence = static_cast<int>(whole(arguments[i + 1], 1, 86400));
    } else {
      throw std::runtime_error("unknown option " + arguments[i] + " of serve");
    }
  }
  return options;
}

// pin CORE...: this thread, and those that sessions start after it.
std::string pin(const std::vector<std::string>& words) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  for (size_t i = 1; i < words.size(); ++i) CPU_SET(static_cast<size_t>(whole(words[i], 0, CPU_SETSIZE - 1)), &cores);
  if (sched_setaffinity(0, sizeof cores, &cores)) {
    throw std::runtime_error(std::string("the cores cannot be chosen: ") + std::strerror(errno));
  }
  return "";
}

std::string hello(const Sensors& sensors) {
  const Machine machine = describe_machine();
  std::string isa;
  for (const std::string& one : machine.isa) isa += (isa.empty() ? "" : ", ") + quoted(one);
  return "\"protocol\": " + std::to_string(kProtocol) + ", \"machine\": {\"cpu\": " + quoted(machine.cpu) +
         ", \"cores\": " + std::to_string(machine.cores) + ", \"isa\": [" + isa + "], \"os\": " + quoted(machine.os) +
         ", \"memory\": " + std::to_string(machine.memory) + "}, \"emulated\": " + (emulated() ? "true" : "false") +
         ", \"board\": " + sensors.board() + ", \"cores\": " + sensors.cores();
}

}  // namespace

int serve(const std::vector<std::string>& arguments) {
  const Options options = read_options(arguments);
  Wire wire(options.silence);
  try {
    Sensors sensors(options.root);
    Sessions sessions(sensors);
    for (;;) {
      Request request = wire.next();
      const std::vector<std::string>& words = request.words;
      std::vector<Payload> payload;
      try {
        if (words[0] == "quit") {
          wire.reply("");
          _exit(0);  // the thread that reads has no end of its own
        } else if (words[0] == "hello") {
          wire.reply(hello(sensors));
        } else if (words[0] == "conditions") {
          wire.reply("\"conditions\": " + sensors.conditions());
        } else if (words[0] == "memory") {
          wire.reply("\"peak_rss_bytes\": " + std::to_string(peak_rss_bytes()));
        } else if (words[0] == "pin") {
          wire.reply(pin(words));
        } else if (words[0] == "engine") {
          wire.reply(sessions.engine(words));
        } else if (words[0] == "open") {
          wire.reply(sessions.open(words));
        } else if (words[0] == "close") {
          wire.reply(sessions.close(words));
        } else if (words[0] == "feed") {
          wire.reply(sessions.feed(std::move(request)));
        } else if (words[0] == "image") {
          wire.reply(sessions.image(words));
        } else if (words[0] == "missing") {
          wire.reply(missing_files(words));
        } else if (words[0] == "store") {
          wire.reply(store_file(request));
        } else if (words[0] == "forget") {
          wire.reply(sessions.forget(words));
        } else if (words[0] == "run") {
          const std::string fields = sessions.run(words, payload);
          wire.reply(fields, payload);
        } else if (words[0] == "block") {
          wire.reply(sessions.block(words));
        } else if (words[0] == "sustain") {
          wire.reply(sessions.sustain(words));
        } else {
          wire.fail("unknown request " + words[0]);
        }
      } catch (const std::exception& error) {
        wire.fail(error.what());
      }
    }
  } catch (const std::exception& error) {
    wire.fail(error.what());
    _exit(1);  // the thread that reads uses what would be destroyed
  }
}
