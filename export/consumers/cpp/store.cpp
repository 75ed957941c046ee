#include "store.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "facts.h"
#include "files.h"
#include "sha256.h"

namespace {

// No path but a name, whatever the host sends.
const std::string& checked_digest(const std::string& word) {
  const bool is_digest = word.size() == 64 && word.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!is_digest) throw std::runtime_error("a file has no SHA-256 for a name: " + word);
  return word;
}

bool is_whole(const std::string& path, const std::string& digest) {
  if (access(path.c_str(), R_OK)) return false;
  int64_t size = 0;
  return sha256_of(path, &size) == digest;
}

[[noreturn]] void fail(const std::string& path) {
  const std::string why = std::strerror(errno);
  unlink(path.c_str());
  throw std::runtime_error("cannot write " + path + ": " + why);
}

}  // namespace

std::string missing_files(const std::vector<std::string>& words) {
  if (words.size() < 3) throw std::runtime_error("missing needs FOLDER DIGEST...");
  std::vector<std::string> absent;
  for (size_t i = 2; i < words.size(); ++i) {
    if (!is_whole(words[1] + "/" + checked_digest(words[i]), words[i])) absent.push_back(quoted(words[i]));
  }
  struct statvfs disk;
  if (statvfs(words[1].c_str(), &disk)) {
    throw std::runtime_error("cannot look at " + words[1] + ": " + std::strerror(errno));
  }
  const uint64_t free = static_cast<uint64_t>(disk.f_bavail) * disk.f_frsize;
  return "\"missing\": " + listed(absent) + ", \"free\": " + std::to_string(free);
}

std::string store_file(const Request& request) {
  const std::vector<std::string>& words = request.words;
  const std::string path = words[1] + "/" + checked_digest(words[2]), part = path + ".part";
  std::FILE* const file = std::fopen(part.c_str(), "wb");
  if (!file) fail(part);
  const size_t size = request.payload.size();
  const bool is_written = std::fwrite(request.payload.data(), 1, size, file) == size;
  if (std::fclose(file) || !is_written) fail(part);
  if (!is_whole(part, words[2])) {
    unlink(part.c_str());
    throw std::runtime_error("a file arrived damaged: " + words[2]);
  }
  if (chmod(part.c_str(), 0600) || std::rename(part.c_str(), path.c_str())) fail(part);
  return "";
}
