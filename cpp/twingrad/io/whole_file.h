#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>

namespace twingrad {

/// The bytes of a regular file. Throws UserError naming it as InputFile does for anything else, and for a
/// file of more than `largest` bytes, of which no more than a piece is read beyond that.
std::string read_whole_file(const std::filesystem::path& path,
                            std::uint64_t largest = std::numeric_limits<std::uint64_t>::max());

}  // namespace twingrad
