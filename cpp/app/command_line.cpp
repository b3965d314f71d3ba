#include "app/command_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <sstream>

#include "app/option_values.h"

namespace twingrad::app {
namespace {

/// "train" → "twingrad train --help"
std::string where_to_read(const CLI::App& command) {
  return fmt::format("see '{} --help'", command.get_name());
}

// Together the 80 columns of a terminal that nobody has widened.
constexpr std::size_t kNameColumns = 30;
constexpr std::size_t kTextColumns = 50;

/// Breaks a text into lines; CLI11 indents those behind the first.
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

[[noreturn]] void refuse_unknown(const CLI::App& command, const std::string& argument) {
  std::vector<std::string> known;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& long_name : option->get_lnames()) {
      known.push_back("--" + long_name);
    }
  }
  const std::string name = argument.substr(0, argument.find('='));
  throw UserError(name,
                  fmt::format("expected an option of '{}', found none of that name", command.get_name()),
                  where_to_read(command) + suggestion(name, known));
}

}  // namespace

void add_option(CLI::App& command, const std::string& group, const OptionHelp& help,
                std::function<void(const std::string&)> take) {
  CLI::Option* option =
      command.add_option_function<std::string>(help.name, std::move(take), wrapped(help.text));
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)->type_name(help.value)->group(group);
  if (!help.default_text.empty()) {
    option->default_str(help.default_text);
  }
  command.get_formatter()->column_width(kNameColumns);
}

void add_flag(CLI::App& command, const std::string& group, const std::string& name, bool& value,
              const std::string& help) {
  command.add_flag(name, value, wrapped(help))->group(group);
}

bool parse(CLI::App& command, std::vector<std::string> arguments) {
  command.allow_extras();
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
  try {
    command.parse(arguments);
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", command.help());
    return false;
  } catch (const CLI::ParseError& error) {
    const std::string message = error.what();
    const std::size_t colon = message.find(':');
    const std::string where = message.rfind("--", 0) == 0 && colon != std::string::npos
                                  ? message.substr(0, colon)
                                  : "the command line";
    throw UserError(where, "expected a value, found none (" + message + ")", where_to_read(command));
  }
  if (!command.remaining().empty()) {
    refuse_unknown(command, command.remaining().front());
  }
  return true;
}

}  // namespace twingrad::app
