#include "app/help_formatter.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace twingrad::app {
namespace {

constexpr std::size_t kOptionColumns = 30, kCommandColumns = 14;

/// The name, and the description in a column of its own; below the name if that is too long.
std::string row(const std::string& name, const std::string& description, std::size_t columns) {
  std::string text = "  " + name;
  if (text.size() >= columns) {
    text += '\n' + std::string(columns, ' ');
  }
  text.resize(std::max(text.size(), columns), ' ');
  for (const char c : description) {
    text += c == '\n' ? '\n' + std::string(columns, ' ') : std::string(1, c);
  }
  return text.substr(0, text.find_last_not_of(' ') + 1) + '\n';
}

bool has_many_values(const CLI::Option& option) { return option.get_items_expected_max() > 1; }

/// "-h,--help", "--lr NUMBER=1e-3", "names NAME ..."
std::string heading(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& letter : option.get_snames()) {
    names.push_back("-" + letter);
  }
  for (const std::string& name : option.get_lnames()) {
    names.push_back("--" + name);
  }
  std::string text =
      names.empty() ? option.get_name(/*positional=*/true) : fmt::format("{}", fmt::join(names, ","));
  if (option.get_type_size() != 0 && !option.get_type_name().empty()) {
    text += " " + option.get_type_name();
  }
  if (!option.get_default_str().empty()) {
    text += "=" + option.get_default_str();
  }
  return text + (has_many_values(option) && names.empty() ? " ..." : "");
}

std::string usage(const CLI::App& app, bool has_commands) {
  std::string text = "Usage: " + full_name(app) + " [OPTIONS]";
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) {
      text += " [" + option->get_name(/*positional=*/true) + (has_many_values(*option) ? "...]" : "]");
    }
  }
  return text + (has_commands ? " [COMMAND]\n" : "\n");
}

}  // namespace

std::string full_name(const CLI::App& command) {
  const CLI::App* parent = command.get_parent();
  return parent == nullptr ? command.get_name() : parent->get_name() + " " + command.get_name();
}

std::string HelpFormatter::make_help(const CLI::App* app, std::string /*name*/,
                                     CLI::AppFormatMode /*mode*/) const {
  const std::vector<const CLI::App*> commands = app->get_subcommands([](const CLI::App*) { return true; });
  const std::size_t columns = commands.empty() ? kOptionColumns : kCommandColumns;
  std::string text = app->get_description() + "\n" + usage(*app, !commands.empty());
  // The groups in the order of their first options.
  std::vector<std::pair<std::string, std::string>> groups;
  const auto add = [&](const std::string& group, const std::string& line) {
    const auto found =
        std::find_if(groups.begin(), groups.end(), [&](auto& one) { return one.first == group; });
    (found == groups.end() ? groups.emplace_back(group, "") : *found).second += line;
  };
  for (const bool positional : {true, false}) {
    for (const CLI::Option* option : app->get_options()) {
      if (option->get_positional() == positional) {
        // CLI11 2.6 calls its own group OPTIONS.
        const std::string group = option->get_group() == "OPTIONS" ? "Options" : option->get_group();
        add(positional ? "Arguments" : group, row(heading(*option), option->get_description(), columns));
      }
    }
  }
  for (const CLI::App* command : commands) {
    add("Commands", row(command->get_name(), command->get_description(), columns));
  }
  for (const auto& [group, lines] : groups) {
    text += "\n" + group + ":\n" + lines;
  }
  const std::string footer = app->get_footer();
  return text + (footer.empty() ? "" : "\n" + footer + "\n");
}

}  // namespace twingrad::app
