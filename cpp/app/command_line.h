#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

namespace twingrad::app {

/// How --help shows an option: "--lr NUMBER [1e-3]   learning rate".
struct OptionHelp {
  std::string name;          ///< "--lr"
  std::string value;         ///< placeholder for the value: "NUMBER"
  std::string default_text;  ///< "1e-3"; empty: no default is shown
  std::string text;
};

constexpr const char* kJsonHelp = "print JSON on standard output and everything else on standard error";

/// Adds a command to the program.
CLI::App& add_command(CLI::App& program, const std::string& name, const std::string& description);

/// Adds an option with a value. `take` receives the text and throws UserError if it is invalid. If the option
/// is repeated, the last value is used. count() of the result is 0 if the option was not given.
CLI::Option* add_option(CLI::App& command, const std::string& group, const OptionHelp& help,
                        std::function<void(const std::string&)> take);

/// The same for an option whose text needs no validation.
CLI::Option* add_option(CLI::App& command, const std::string& group, const OptionHelp& help,
                        std::string& value);

/// Adds an option without a value.
CLI::Option* add_flag(CLI::App& command, const std::string& group, const std::string& name, bool& value,
                      const std::string& help);

/// Parses the arguments of a program with commands, or of a single command. Returns false after printing
/// --help or --version. Throws UserError for invalid arguments, and suggests the nearest name for an unknown
/// one.
bool parse(CLI::App& program, std::vector<std::string> arguments);

/// Throws UserError unless `value` is given. what: the expected value; command: the command whose
/// --help the message refers to.
void require_value(const std::string& where, const std::string& value, const std::string& what,
                   const std::string& command);

}  // namespace twingrad::app
