#include "twingrad/io/whole_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "twingrad/io/input_file.h"
#include "twingrad/runtime/error.h"

namespace twingrad {

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
