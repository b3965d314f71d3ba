#pragma once

#include <filesystem>
#include <string_view>

namespace twingrad {

/// Writes a file atomically: writes a temporary file in the same directory, synchronizes it to the disk and
/// renames it. Throws UserError naming the file if the disk is full or the directory is not writable; an
/// existing file then remains unchanged.
void write_atomically(const std::filesystem::path& path, std::string_view content);

}  // namespace twingrad
