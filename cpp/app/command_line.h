#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

namespace twingrad::app {

/// Adds an option whose text goes to `take`, which throws UserError if it does not like it. Given twice, the
/// last counts, so that the command line overrides a recipe.
CLI::Option* add_option(CLI::App& command, const std::string& name, const std::string& help,
                        const std::string& default_text, std::function<void(const std::string&)> take);

/// Parses the arguments. Returns false after --help, which it has printed. Throws UserError for what is
/// wrong, with the nearest option suggested for one that does not exist.
bool parse(CLI::App& command, std::vector<std::string> arguments);

}  // namespace twingrad::app
