#include "twingrad/io/whole_file.h"

#include <cerrno>
#include <cstdint>
#include <fstream>
#include <system_error>

#include "twingrad/runtime/error.h"

namespace twingrad {
namespace {

namespace fs = std::filesystem;

const char* describe(fs::file_type type) {
  switch (type) {
    case fs::file_type::not_found:
      return "nothing there";
    case fs::file_type::directory:
      return "a folder";
    default:
      return "a pipe, a device or a socket";
  }
}

[[noreturn]] void refuse_to_read(const fs::path& path, const std::string& reason) {
  throw UserError(path.string(), "expected a file that can be read, found \"" + reason + "\"",
                  "check its permissions and the disk");
}

}  // namespace

std::string read_whole_file(const fs::path& path) {
  std::error_code failure;
  const fs::file_type type = fs::status(path, failure).type();
  if (type == fs::file_type::none) refuse_to_read(path, failure.message());
  if (type != fs::file_type::regular) {  // opening a pipe would wait for a writer
    throw UserError(path.string(), std::string("expected a file, found ") + describe(type), "check the path");
  }
  std::ifstream stream(path, std::ios::binary);
  if (!stream) refuse_to_read(path, std::generic_category().message(errno));
  const std::uintmax_t size = fs::file_size(path, failure);
  if (failure) refuse_to_read(path, failure.message());
  std::string content(size, '\0');
  stream.read(content.data(), static_cast<std::streamsize>(size));
  if (stream.gcount() != static_cast<std::streamsize>(size)) {
    refuse_to_read(path, "it ended before its size");
  }
  return content;
}

}  // namespace twingrad
