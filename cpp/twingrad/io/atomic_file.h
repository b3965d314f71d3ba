#pragma once

#include <filesystem>
#include <string_view>

namespace twingrad {

/// Writes a file completely or not at all: to a temporary file in the same directory, synchronized to the
/// disk and then renamed. Throws UserError naming the file if the disk is full or the directory is not
/// writable; an existing file then remains unchanged.
void write_atomically(const std::filesystem::path& path, std::string_view content);

}  // namespace twingrad
