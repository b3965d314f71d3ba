#pragma once

#include <filesystem>
#include <string_view>

namespace twingrad {

/// Writes a file whole or not at all: into a temporary file beside it, synchronized to the disk, then renamed
/// over it. Throws UserError naming the file when the disk is full or the folder cannot be written; an older
/// file then remains.
void write_atomically(const std::filesystem::path& path, std::string_view content);

}  // namespace twingrad
