#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace twingrad::app {

/// The text of --help, the same with every version of CLI11: description, usage, arguments, options by group,
/// commands, footer. At most 80 columns if the descriptions have at most 50.
class HelpFormatter : public CLI::FormatterBase {
 public:
  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const override;
};

/// "twingrad train"
std::string full_name(const CLI::App& command);

}  // namespace twingrad::app
