#include "twingrad/io/input_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <string_view>
#include <system_error>

#include "twingrad/runtime/error.h"

namespace twingrad {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kReadSize = 65536;  // fits into the second-level cache

std::string_view describe_kind(fs::file_type type) {
  switch (type) {
    case fs::file_type::not_found:
      return "nothing there";
    case fs::file_type::directory:
      return "a directory";
    case fs::file_type::fifo:
      return "a pipe";
    default:
      return "a device or a socket";
  }
}

[[noreturn]] void refuse_to_read(const fs::path& path, const std::string& reason) {
  throw UserError(path.string(), fmt::format("expected a file that can be read, found \"{}\"", reason),
                  "check its permissions and the disk");
}

/// Throws UserError unless the path is a regular file. Call it before opening the file: opening a pipe
/// without a writer would block.
void require_regular_file(const fs::path& path) {
  std::error_code failure;
  const fs::file_type type = fs::status(path, failure).type();
  if (type == fs::file_type::regular) return;
  if (type == fs::file_type::none) refuse_to_read(path, failure.message());
  throw UserError(path.string(), fmt::format("expected a file, found {}", describe_kind(type)),
                  "check the path");
}

}  // namespace

InputFile::InputFile(const fs::path& path) : path_(path), buffer_(kReadSize) {
  require_regular_file(path);
  file_.reset(std::fopen(path.c_str(), "rb"));
  if (!file_) refuse_to_read(path, std::generic_category().message(errno));
  std::setvbuf(file_.get(), nullptr, _IONBF, 0);  // reads are large already

  std::error_code ignored;  // the size is only a hint for allocations
  const std::uintmax_t size = fs::file_size(path, ignored);
  size_ = ignored ? 0 : size;
}

std::span<const std::uint8_t> InputFile::read() {
  const std::size_t count = std::fread(buffer_.data(), 1, buffer_.size(), file_.get());
  if (count < buffer_.size() && std::ferror(file_.get()) != 0) {
    refuse_to_read(path_, std::generic_category().message(errno));
  }
  position_ += count;
  return std::span<const std::uint8_t>(buffer_).first(count);
}

std::string read_whole_file(const std::filesystem::path& path, std::uint64_t largest) {
  InputFile file(path);
  std::string content;
  content.reserve(static_cast<std::size_t>(std::min(file.size(), largest)));
  for (auto piece = file.read(); !piece.empty(); piece = file.read()) {
    if (file.position() > largest) {
      throw UserError(path.string(), fmt::format("expected at most {} bytes, found more", largest),
                      "give a smaller file");
    }
    content.append(piece.begin(), piece.end());
  }
  return content;
}

}  // namespace twingrad
