#pragma once

#include <string>

namespace CLI {
class App;
}

namespace twingrad::app {

/// The manual page of a program with commands, for `man`: its commands with their options and examples.
std::string manual_page(const CLI::App& program);

/// A bash script that completes commands, options, and the values of options that are names.
std::string bash_completion(const CLI::App& program);

}  // namespace twingrad::app
