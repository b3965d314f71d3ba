#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

namespace twingrad {

/// A regular file, read from front to back in pieces.
class InputFile {
 public:
  /// Throws UserError naming the path for anything but a regular file that can be read: nothing there, a
  /// folder, a pipe (which is not waited for), a device.
  explicit InputFile(const std::filesystem::path& path);

  /// The next bytes of the file, valid until the next call; none at the end. Throws UserError if the disk
  /// fails.
  std::span<const std::uint8_t> read();

  const std::filesystem::path& path() const { return path_; }
  std::uint64_t size() const { return size_; }          ///< as the file system tells it: a hint, no promise
  std::uint64_t position() const { return position_; }  ///< how many bytes have been read

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Close> file_;
  std::uint64_t size_ = 0;
  std::uint64_t position_ = 0;
  std::vector<std::uint8_t> buffer_;
};

}  // namespace twingrad
