#include "twingrad/runtime/container.h"

#include <algorithm>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>

namespace twingrad {
namespace {

namespace fs = std::filesystem;

/// A line of mountinfo: "36 35 98:0 /root /mount/point rw,noatime shared:1 - ext3 /dev/sda1 rw".
struct Mount {
  std::string root;   ///< the directory within the file system that is mounted
  std::string point;  ///< where it is mounted
  std::string type;   ///< of the file system
};

/// Blanks and backslashes are written as octal numbers: "\040".
std::string unescaped(const std::string& text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      result += static_cast<char>(std::strtol(text.substr(i + 1, 3).c_str(), nullptr, 8));
      i += 3;
    } else {
      result += text[i];
    }
  }
  return result;
}

Mount parse_mount(const std::string& line) {
  std::istringstream words(line);
  std::string word;
  Mount mount;
  words >> word >> word >> word >> mount.root >> mount.point;
  while (words >> word && word != "-") {
  }
  words >> mount.type;
  return {unescaped(mount.root), unescaped(mount.point), mount.type};
}

bool contains(const fs::path& outer, const fs::path& inner) {
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

}  // namespace

bool is_lost_with_container(const fs::path& directory, const fs::path& mounts) {
  std::error_code error;
  const fs::path path = fs::canonical(directory, error);  // empty after an error
  std::ifstream file(mounts);
  Mount innermost;
  for (std::string line; std::getline(file, line);) {
    const Mount mount = parse_mount(line);
    // A later mount at the same place hides the earlier one.
    if (contains(mount.point, path) && mount.point.size() >= innermost.point.size()) {
      innermost = mount;
    }
  }
  static const std::regex unnamed_volume(".*/volumes/[0-9a-f]{64}/_data");  // of Docker and Podman
  return innermost.point == "/" || innermost.type == "tmpfs" ||
         std::regex_match(innermost.root, unnamed_volume);
}

}  // namespace twingrad
