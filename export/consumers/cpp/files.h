// What Linux says in small files under /sys and /proc.
#pragma once

#include <string>
#include <vector>

class Files {
 public:
  // root: in front of every path, "" but in tests.
  explicit Files(std::string root) : root_(std::move(root)) {}

  std::string path_of(const std::string& path) const { return root_ + path; }
  std::string text_of(const std::string& path) const;    // the first line; "" where there is none
  std::string number_of(const std::string& path) const;  // as JSON; null where it is no whole number
  bool has(const std::string& path) const;
  std::vector<std::string> names_in(const std::string& folder, const std::string& prefix) const;  // in order

 private:
  std::string root_;
};

// The whole number that the text is, as JSON, or null. base 16 takes 0x in front.
std::string whole_or_null(const std::string& text, int base);

// The items as a JSON list.
std::string listed(const std::vector<std::string>& items);
