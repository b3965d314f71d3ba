#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "twingrad/runtime/fields.h"

namespace twingrad::app {

/// The directory of the recipes that come with the program: share/twingrad/recipes next to bin, in the build
/// and after installation.
std::filesystem::path recipe_directory();

/// The names of the recipes in that directory, sorted.
std::vector<std::string> recipe_names();

/// The file of a recipe given by name or as a file. Throws UserError if there is none.
std::filesystem::path find_recipe(const std::string& name_or_file);

/// Whether the text is UTF-8 without control characters and can be printed to a terminal.
bool is_plain_text(std::string_view text);

/// The options in a recipe, each with its line number.
///
/// A recipe has a line "name = value" for each option of `twingrad train`, without the dashes; "#" begins a
/// comment. If an option occurs twice, the last line is used. Throws UserError with file and line for
/// anything else, including text that is not plain, and for a file of more than 64 KiB.
GivenOptions read_recipe(const std::filesystem::path& file);

}  // namespace twingrad::app
