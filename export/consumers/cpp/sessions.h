// The sessions and inputs that a host has opened here, and how they are timed.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine.h"
#include "sensors.h"
#include "wire.h"

class Sessions {
 public:
  explicit Sessions(Sensors& sensors) : sensors_(sensors) {}

  // All return the fields of a reply, and throw std::runtime_error.
  std::string engine(const std::vector<std::string>& words);  // engine NAME LIBRARY...
  // open SESSION ENGINE THREADS MODEL (weights PATH | library PATH | input NAME DIMS | output NAME TYPE)...
  std::string open(const std::vector<std::string>& words);
  std::string close(const std::vector<std::string>& words);  // close SESSION
  std::string feed(Request&& request);                       // feed SLOT (NAME TYPE DIMS)...
  std::string image(const std::vector<std::string>& words);   // see image_input.h; adds an input to a slot
  std::string forget(const std::vector<std::string>& words);  // forget SLOT
  // run SESSION SLOT: the outputs, which live until the next run of the session.
  std::string run(const std::vector<std::string>& words, std::vector<Payload>& payload);
  std::string block(const std::vector<std::string>& words);    // block SESSION SLOT SETTLE MILLISECONDS
  std::string sustain(const std::vector<std::string>& words);  // sustain SESSION MILLISECONDS WINDOW SLOT...

 private:
  struct Slot {
    std::vector<uint8_t> bytes;
    std::vector<uint8_t> image;        // of an input that was read here
    std::vector<NamedTensor> tensors;  // point into both
  };
  Session& session(const std::string& number);
  const Slot& slot(const std::string& number) const;

  Sensors& sensors_;
  std::map<std::string, std::unique_ptr<Engine>> engines_;
  std::map<std::string, std::unique_ptr<Session>> sessions_;  // go before the engines do
  std::map<std::string, Slot> slots_;
};
