#include "app/command_line.h"

#include <fmt/format.h>

#include <cstdio>

#include "app/option_values.h"

namespace twingrad::app {
namespace {

/// "train" → "twingrad train --help"
std::string where_to_read(const CLI::App& command) {
  return fmt::format("see '{} --help'", command.get_name());
}

[[noreturn]] void refuse_unknown(const CLI::App& command, const std::string& argument) {
  std::vector<std::string> known;
  for (const CLI::Option* option : command.get_options()) {
    known.push_back("--" + option->get_name(false, true).substr(2));
  }
  const std::string name = argument.substr(0, argument.find('='));
  throw UserError(name,
                  fmt::format("expected an option of '{}', found none of that name", command.get_name()),
                  where_to_read(command) + suggestion(name, known));
}

}  // namespace

CLI::Option* add_option(CLI::App& command, const std::string& name, const std::string& help,
                        const std::string& default_text, std::function<void(const std::string&)> take) {
  CLI::Option* option = command.add_option_function<std::string>(name, std::move(take), help);
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  if (!default_text.empty()) {
    option->default_str(default_text);
  }
  return option;
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
