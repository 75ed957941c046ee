#include "files.h"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>

std::string Files::text_of(const std::string& path) const {
  std::ifstream file(root_ + path);
  std::string line;
  std::getline(file, line);
  return line.size() < 256 ? line : "";
}

std::string Files::number_of(const std::string& path) const { return whole_or_null(text_of(path), 10); }

bool Files::has(const std::string& path) const { return access((root_ + path).c_str(), F_OK) == 0; }

std::vector<std::string> Files::names_in(const std::string& folder, const std::string& prefix) const {
  std::vector<std::string> names;
  if (DIR* const open = opendir((root_ + folder).c_str())) {
    while (const dirent* const entry = readdir(open)) {
      const std::string name = entry->d_name;
      if (name.rfind(prefix, 0) == 0) names.push_back(name);
    }
    closedir(open);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string whole_or_null(const std::string& text, int base) {
  char* end = nullptr;
  errno = 0;
  const long long value = std::strtoll(text.c_str(), &end, base);
  return text.empty() || *end || errno ? "null" : std::to_string(value);
}

std::string listed(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "" : ", ") + item;
  return "[" + text + "]";
}
