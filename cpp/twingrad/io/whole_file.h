#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>

namespace twingrad {

/// Reads a regular file completely. Throws UserError as InputFile does, and for a file of more than `largest`
/// bytes; reading stops soon after that size.
std::string read_whole_file(const std::filesystem::path& path,
                            std::uint64_t largest = std::numeric_limits<std::uint64_t>::max());

}  // namespace twingrad
