#include "app/recipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <sstream>
#include <string_view>

#include "twingrad/io/input_file.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/text.h"

namespace twingrad::app {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kExtension = ".recipe";

std::string trimmed(const std::string& text) {
  const char* blanks = " \t\r";
  const std::size_t first = text.find_first_not_of(blanks);
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(blanks) + 1 - first);
}

}  // namespace

fs::path recipe_directory() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  return program.parent_path().parent_path() / "share" / "twingrad" / "recipes";
}

std::vector<std::string> recipe_names() {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(recipe_directory(), error)) {
    if (entry.path().extension() == kExtension) {
      names.push_back(entry.path().stem().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

fs::path find_recipe(const std::string& name_or_file) {
  const std::vector<std::string> names = recipe_names();
  if (std::find(names.begin(), names.end(), name_or_file) != names.end()) {
    return recipe_directory() / (name_or_file + std::string(kExtension));
  }
  std::error_code error;
  if (fs::is_regular_file(name_or_file, error)) {
    return name_or_file;
  }
  throw UserError("--recipe",
                  fmt::format("expected {} or a file, found '{}'", join_alternatives(names), name_or_file),
                  "choose one of these" + suggestion(name_or_file, names));
}

bool is_plain_text(std::string_view text) {
  const auto is_control = [](char character) {
    return (character >= 0 && character < ' ' && character != '\t') || character == '\x7f';
  };
  return is_utf8(text) && std::none_of(text.begin(), text.end(), is_control);
}

GivenOptions read_recipe(const fs::path& file) {
  constexpr std::uint64_t kLargest = 64 * 1024;
  std::istringstream stream(read_whole_file(file, kLargest));
  GivenOptions options;
  std::string line;
  for (int number = 1; std::getline(stream, line); ++number) {
    line = trimmed(line.substr(0, line.find('#')));
    if (line.empty()) {
      continue;
    }
    const std::string where = fmt::format("{}: line {}", file.string(), number);
    const std::size_t equals = line.find('=');
    const std::string name = trimmed(line.substr(0, equals));
    const std::string value = equals == std::string::npos ? "" : trimmed(line.substr(equals + 1));
    const bool is_option = !name.empty() && name.front() != '-' && name != "recipe" && name != "resume";
    if (!is_option || value.empty() || !is_plain_text(line)) {
      throw UserError(
          where,
          fmt::format("expected an option of twingrad train as 'name = value', found '{}'", printable(line)),
          "fix this line");
    }
    options["--" + name] = {value, where};
  }
  return options;
}

}  // namespace twingrad::app
