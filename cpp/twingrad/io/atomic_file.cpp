#include "twingrad/io/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "twingrad/runtime/error.h"

namespace twingrad {
namespace {

[[noreturn]] void refuse_to_write(const std::filesystem::path& path, int error_number) {
  throw UserError(
      path.string(),
      fmt::format("expected a file that can be written, found \"{}\"", std::strerror(error_number)),
      "free some space or choose another directory");
}

/// Returns 0 or the error number.
int write_and_synchronize(int file, std::string_view content) {
  while (!content.empty()) {
    const ssize_t written = ::write(file, content.data(), content.size());
    if (written < 0 && errno != EINTR) {
      return errno;
    }
    content.remove_prefix(written < 0 ? 0 : static_cast<std::size_t>(written));
  }
  return ::fsync(file) == 0 ? 0 : errno;
}

void synchronize_directory(const std::filesystem::path& directory) {
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor >= 0) {
    ::fsync(descriptor);
    ::close(descriptor);
  }
}

}  // namespace

void write_atomically(const std::filesystem::path& path, std::string_view content) {
  std::filesystem::path temporary = path;
  temporary += ".partial";
  const int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) {
    refuse_to_write(path, errno);
  }
  int error = write_and_synchronize(file, content);
  if (::close(file) != 0 && error == 0) {
    error = errno;
  }
  if (error == 0 && std::rename(temporary.c_str(), path.c_str()) != 0) {
    error = errno;
  }
  if (error != 0) {
    ::unlink(temporary.c_str());
    refuse_to_write(path, error);
  }
  synchronize_directory(path.has_parent_path() ? path.parent_path() : ".");
}

}  // namespace twingrad
