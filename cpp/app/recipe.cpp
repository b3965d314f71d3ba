#include "app/recipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <sstream>
#include <string_view>

#include "app/option_values.h"
#include "twingrad/io/whole_file.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/text.h"

namespace twingrad::app {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEnding = ".recipe";

std::string trimmed(const std::string& text) {
  const char* blanks = " \t\r";
  const std::size_t first = text.find_first_not_of(blanks);
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(blanks) + 1 - first);
}

/// Names and values come back in messages: nothing in them may steer a terminal.
bool is_text(std::string_view line) {
  const auto is_control = [](char character) {
    return (character >= 0 && character < ' ' && character != '\t') || character == '\x7f';
  };
  return is_utf8(line) && std::none_of(line.begin(), line.end(), is_control);
}

}  // namespace

fs::path recipe_folder() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  return program.parent_path().parent_path() / "share" / "twingrad" / "recipes";
}

std::vector<std::string> recipe_names() {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(recipe_folder(), error)) {
    if (entry.path().extension() == kEnding) {
      names.push_back(entry.path().stem().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

fs::path find_recipe(const std::string& name_or_file) {
  const std::vector<std::string> names = recipe_names();
  if (std::find(names.begin(), names.end(), name_or_file) != names.end()) {
    return recipe_folder() / (name_or_file + std::string(kEnding));
  }
  std::error_code error;
  if (fs::is_regular_file(name_or_file, error)) {
    return name_or_file;
  }
  throw UserError("--recipe",
                  fmt::format("expected {} or a file, found '{}'", join_alternatives(names), name_or_file),
                  "name one of these" + suggestion(name_or_file, names));
}

std::vector<std::string> read_recipe(const fs::path& file) {
  constexpr std::uint64_t kLargest = 64 * 1024;
  std::istringstream stream(read_whole_file(file, kLargest));
  std::vector<std::string> arguments;
  std::string line;
  for (int number = 1; std::getline(stream, line); ++number) {
    line = trimmed(line.substr(0, line.find('#')));
    if (line.empty()) {
      continue;
    }
    const std::size_t equals = line.find('=');
    const std::string name = trimmed(line.substr(0, equals));
    const std::string value = equals == std::string::npos ? "" : trimmed(line.substr(equals + 1));
    if (name.empty() || value.empty() || name.front() == '-' || name == "recipe" || !is_text(line)) {
      throw UserError(
          fmt::format("{}: line {}", file.string(), number),
          fmt::format("expected an option of twingrad train as 'name = value', found '{}'", printable(line)),
          "mend the line");
    }
    arguments.push_back(fmt::format("--{}={}", name, value));
  }
  return arguments;
}

}  // namespace twingrad::app
