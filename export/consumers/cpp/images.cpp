#include "images.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <stdexcept>

std::vector<Entry> read_list(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : path.substr(0, slash + 1);
  std::vector<Entry> entries;
  std::string line;
  while (std::getline(file, line)) {
    if (line.empty()) continue;
    std::istringstream fields(line);
    Entry entry{};
    if (!(fields >> entry.id >> std::ws) || !std::getline(fields, entry.path) || entry.path.empty()) {
      throw std::runtime_error(path + ": a line is no \"ID PATH\": " + line);
    }
    if (entry.path[0] != '/') entry.path = folder + entry.path;
    entries.push_back(entry);
  }
  if (entries.empty()) throw std::runtime_error(path + " names no images");
  return entries;
}

namespace {

constexpr int64_t kLargestArea = int64_t{1} << 26;  // as in lth_deploy

// A number of the header; comments run from # to the end of the line.
int64_t header_number(std::istream& file, const std::string& path) {
  while (file >> std::ws && file.peek() == '#') {
    std::string comment;
    std::getline(file, comment);
  }
  int64_t number = 0;
  if (!(file >> number) || number < 1 || number > 65535) throw std::runtime_error(path + " has a damaged PPM header");
  return number;
}

}  // namespace

Image read_image(const Entry& entry) {
  std::ifstream file(entry.path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + entry.path);
  char magic[2] = {};
  file.read(magic, 2);
  if (magic[0] != 'P' || magic[1] != '6') throw std::runtime_error(entry.path + " is no binary PPM (P6)");
  Image image;
  image.id = entry.id;
  image.width = header_number(file, entry.path);
  image.height = header_number(file, entry.path);
  if (header_number(file, entry.path) != 255) throw std::runtime_error(entry.path + " has not 8 bits a channel");
  file.get();
  // Before memory is taken for what a header of twenty bytes claims.
  if (image.width * image.height > kLargestArea)
    throw std::runtime_error(entry.path + " has more than 8192x8192 pixels");
  image.rgb.resize(static_cast<size_t>(image.width * image.height * 3));
  if (!file.read(reinterpret_cast<char*>(image.rgb.data()), static_cast<std::streamsize>(image.rgb.size()))) {
    throw std::runtime_error(entry.path + " is cut short");
  }
  return image;
}

namespace {

// Walks over JSON text; only what "classes" needs. Everything else is skipped, strings and all.
class Scanner {
 public:
  explicit Scanner(const std::string& text) : text_(text) {}

  std::vector<int64_t> classes() {
    std::vector<int64_t> ids;
    object([&](const std::string& key) {
      if (key != "classes") return skip();
      list([&] {
        object([&](const std::string& field) {
          if (field == "id") {
            ids.push_back(std::stoll(word()));
          } else {
            skip();
          }
        });
      });
    });
    return ids;
  }

 private:
  char next() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r'))
      ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  void take(char wanted) {
    if (next() != wanted) throw std::runtime_error("the model's metadata is no JSON that was expected");
    ++at_;
  }
  std::string string() {
    take('"');
    const size_t start = at_;
    while (at_ < text_.size() && text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    const std::string found = text_.substr(start, at_ - start);
    take('"');
    return found;
  }
  std::string word() {  // a number, true, false or null
    next();
    const size_t start = at_;
    at_ = std::min(text_.find_first_of(",]} \n\t\r", start), text_.size());
    return text_.substr(start, at_ - start);
  }
  template <class F>
  void object(F&& member) {
    take('{');
    for (bool more = next() != '}'; more; more = next() == ',') {
      if (next() == ',') take(',');
      const std::string key = string();
      take(':');
      member(key);
    }
    take('}');
  }
  template <class F>
  void list(F&& element) {
    take('[');
    for (bool more = next() != ']'; more; more = next() == ',') {
      if (next() == ',') take(',');
      element();
    }
    take(']');
  }
  void skip(int depth = 0) {
    if (depth > 32) throw std::runtime_error("the model's metadata is nested too deep");
    switch (next()) {
      case '{':
        object([&](const std::string&) { skip(depth + 1); });
        break;
      case '[':
        list([&] { skip(depth + 1); });
        break;
      case '"':
        string();
        break;
      default:
        word();
    }
  }

  const std::string& text_;
  size_t at_ = 0;
};

}  // namespace

std::vector<int64_t> class_ids(const std::string& metadata) {
  if (metadata.empty()) throw std::runtime_error("the model has no metadata: it is not an lth_deploy export");
  return Scanner(metadata).classes();
}
