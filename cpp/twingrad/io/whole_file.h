#pragma once

#include <filesystem>
#include <string>

namespace twingrad {

/// The bytes of a regular file. Throws UserError naming it for anything else: a folder, a pipe, nothing, a
/// file that cannot be read.
std::string read_whole_file(const std::filesystem::path& path);

}  // namespace twingrad
