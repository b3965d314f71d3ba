#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

namespace twingrad::app {

/// How an option shows in --help: "--lr NUMBER=1e-3   learning rate".
struct OptionHelp {
  std::string name;          ///< "--lr"
  std::string value;         ///< what kind of value it takes: "NUMBER"
  std::string default_text;  ///< "1e-3"; empty: none is shown
  std::string text;
};

/// Adds an option whose text goes to `take`, which throws UserError if it does not like it. Given twice, the
/// last counts, so that the command line overrides a recipe.
void add_option(CLI::App& command, const std::string& group, const OptionHelp& help,
                std::function<void(const std::string&)> take);

/// Adds an option without a value.
void add_flag(CLI::App& command, const std::string& group, const std::string& name, bool& value,
              const std::string& help);

/// Parses the arguments. Returns false after --help, which it has printed. Throws UserError for what is
/// wrong, with the nearest option suggested for one that does not exist.
bool parse(CLI::App& command, std::vector<std::string> arguments);

}  // namespace twingrad::app
