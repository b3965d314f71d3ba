#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace twingrad::app {

/// The folder with the recipes that come with the program: share/twingrad/recipes beside bin, in the build as
/// in an installation.
std::filesystem::path recipe_folder();

/// The names of the recipes in that folder, sorted.
std::vector<std::string> recipe_names();

/// The file that `name_or_file` means. Throws UserError when there is none.
std::filesystem::path find_recipe(const std::string& name_or_file);

/// The options that a recipe sets, as arguments "--name=value" in the order of the file.
///
/// A recipe has a line "name = value" for each option of `twingrad train`, without the dashes; "#" begins a
/// comment. Throws UserError with file and line for anything else, control characters and text that is no
/// UTF-8 among it, and for a file of more than 64 KiB.
std::vector<std::string> read_recipe(const std::filesystem::path& file);

}  // namespace twingrad::app
