#include "app/command_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "app/help_formatter.h"
#include "twingrad/runtime/option_values.h"

namespace twingrad::app {
namespace {

constexpr std::size_t kTextColumns = 50;  // beside the names, in the 80 columns of a default terminal

/// Breaks a text into lines; HelpFormatter indents all lines after the first.
std::string wrapped(const std::string& text) {
  std::istringstream words(text);
  std::string result;
  std::size_t column = 0;
  for (std::string word; words >> word;) {
    if (column > 0 && column + 1 + word.size() > kTextColumns) {
      result += '\n';
      column = 0;
    } else if (column > 0) {
      result += ' ';
      ++column;
    }
    result += word;
    column += word.size();
  }
  return result;
}

std::map<const CLI::Option*, std::vector<std::string>>& names_of_choices() {
  static std::map<const CLI::Option*, std::vector<std::string>> names;
  return names;
}

std::string help_hint(const CLI::App& command) { return fmt::format("see '{} --help'", full_name(command)); }

[[noreturn]] void refuse_command(const CLI::App& program, const std::string& argument) {
  std::vector<std::string> known;
  for (const CLI::App* command : program.get_subcommands([](const CLI::App*) { return true; })) {
    known.push_back(command->get_name());
  }
  throw UserError(argument,
                  fmt::format("expected a command ({}), found an unknown one", join_alternatives(known)),
                  help_hint(program) + suggestion(argument, known));
}

[[noreturn]] void refuse_argument(const CLI::App& command, const std::string& argument) {
  const std::string name = argument.substr(0, argument.find('='));
  if (name.rfind('-', 0) != 0) {
    throw UserError(
        name, fmt::format("expected an option of '{}', found an unexpected argument", full_name(command)),
        help_hint(command));
  }
  std::vector<std::string> known;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& long_name : option->get_lnames()) {
      known.push_back("--" + long_name);
    }
  }
  throw UserError(name, fmt::format("expected an option of '{}', found an unknown one", full_name(command)),
                  help_hint(command) + suggestion(name, known));
}

/// The option that a message of CLI11 names, or nullptr.
const CLI::Option* option_in(const CLI::App& command, const std::string& message) {
  const CLI::Option* found = nullptr;
  for (const CLI::Option* option : command.get_options()) {
    const bool is_longer = found == nullptr || option->get_name().size() > found->get_name().size();
    if (is_longer && message.find(option->get_name()) != std::string::npos) {
      found = option;
    }
  }
  return found;
}

[[noreturn]] void refuse(const CLI::App& command, const CLI::ParseError& error) {
  const std::string message = error.what();
  const CLI::Option* option = option_in(command, message);
  std::string problem = "expected valid arguments, found invalid ones (" + message + ")";
  if (option != nullptr && dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    problem = "expected a value, found none";
  } else if (option != nullptr && dynamic_cast<const CLI::ConversionError*>(&error) != nullptr) {
    problem = fmt::format("expected true or false, found '{}'", option->results().back());
  }
  throw UserError(option == nullptr ? "the command line" : option->get_name(), problem, help_hint(command));
}

/// The command that was given, or the program itself.
const CLI::App& given_command(const CLI::App& program) {
  const std::vector<CLI::App*> given = program.get_subcommands();
  return given.empty() ? program : *given.back();
}

}  // namespace

void print_json(const nlohmann::ordered_json& json) {
  fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

CLI::App& add_command(CLI::App& program, const std::string& name, const std::string& description,
                      const std::vector<Example>& examples) {
  CLI::App* command = program.add_subcommand(name, description);
  std::string footer = "Examples:\n";
  for (const auto& [line, purpose] : examples) {
    footer += "  " + line + "\n      " + purpose + "\n";
  }
  command->footer(footer);
  command->allow_extras()->group("Commands");
  return *command;
}

void add_option(CLI::App& command, const std::string& group, const std::string& name,
                const std::string& value_name, const std::string& default_text, const std::string& help,
                const std::vector<std::string>& names) {
  static bool ignored = false;  // the texts are read after parsing
  CLI::Option* option = value_name.empty() ? command.add_flag(name, ignored, wrapped(help))
                                           : command.add_option_function<std::string>(
                                                 name, [](const std::string& /*text*/) {}, wrapped(help));
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)->group(group);
  if (!value_name.empty()) {
    option->type_name(value_name);
  }
  if (!default_text.empty()) {
    option->default_str(default_text);
  }
  names_of_choices()[option] = names;
}

std::vector<std::string> names_of_values(const CLI::Option& option) {
  const auto found = names_of_choices().find(&option);
  return found == names_of_choices().end() ? std::vector<std::string>() : found->second;
}

GivenOptions given_options(const CLI::App& command) {
  GivenOptions given;
  for (const CLI::Option* option : command.get_options()) {
    if (option->count() > 0 && !option->get_lnames().empty()) {
      given["--" + option->get_lnames().front()] = {option->results().back()};
    }
  }
  return given;
}

bool parse(CLI::App& program, std::vector<std::string> arguments) {
  program.allow_extras();                            // so that the error can suggest the nearest name
  std::reverse(arguments.begin(), arguments.end());  // the order in which CLI11 expects them
  try {
    program.parse(arguments);
  } catch (const CLI::CallForVersion& version) {
    fmt::print("{}\n", version.what());
    return false;
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", program.help());
    return false;
  } catch (const CLI::ParseError& error) {
    refuse(given_command(program), error);
  }
  const CLI::App& command = given_command(program);
  const std::vector<std::string> unknown = program.remaining(/*recurse=*/true);
  if (unknown.empty()) {
    return true;
  }
  const bool lacks_command = program.get_subcommands().empty() &&
                             !program.get_subcommands([](const CLI::App*) { return true; }).empty();
  if (lacks_command && unknown.front().rfind('-', 0) != 0) {
    refuse_command(program, unknown.front());
  }
  refuse_argument(program.remaining().empty() ? command : program, unknown.front());
}

void require_value(const std::string& where, const std::string& value, const std::string& what,
                   const std::string& command) {
  if (value.empty()) {
    throw UserError(where, "expected " + what + ", found none", "see '" + command + " --help'");
  }
}

}  // namespace twingrad::app
