#pragma once

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>

namespace twingrad::testing {

/// A new, empty folder, removed with all it holds when the object goes out of scope.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "twingrad-test-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("can not create a folder like " + name);
    path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code
        ignored;  // a destructor must not throw, and what is left does not change a test's verdict
    std::filesystem::remove_all(path_, ignored);
  }

  const std::filesystem::path& path() const { return path_; }

  /// Writes a file with these bytes into the folder, in the place of one that is there, and returns its path.
  std::filesystem::path write(const std::string& name, std::span<const std::uint8_t> bytes) const {
    std::filesystem::path file = path_ / name;
    std::ofstream stream(file, std::ios::binary | std::ios::trunc);
    for (const std::uint8_t byte : bytes) stream.put(static_cast<char>(byte));
    stream.close();
    if (!stream) throw std::runtime_error("can not write " + file.string());
    return file;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace twingrad::testing
