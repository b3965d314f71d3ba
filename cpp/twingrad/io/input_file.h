#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace twingrad {

/// A regular file that is read from start to end in pieces.
class InputFile {
 public:
  /// Throws UserError naming the path unless it is a readable regular file. Does not block on a pipe.
  explicit InputFile(const std::filesystem::path& path);

  /// The next bytes of the file, valid until the next call; none at the end. Throws UserError on a read
  /// error.
  std::span<const std::uint8_t> read();

  const std::filesystem::path& path() const { return path_; }
  std::uint64_t size() const { return size_; }          ///< reported by the file system; only a hint
  std::uint64_t position() const { return position_; }  ///< number of bytes read so far

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

/// Reads a regular file completely. Throws UserError as InputFile does, and for a file of more than `largest`
/// bytes; reading stops soon after that size.
std::string read_whole_file(const std::filesystem::path& path,
                            std::uint64_t largest = std::numeric_limits<std::uint64_t>::max());

}  // namespace twingrad
