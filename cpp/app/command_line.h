#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "twingrad/runtime/fields.h"

namespace twingrad::app {

constexpr const char* kJsonHelp = "print JSON on standard output and everything else on standard error";

/// Prints an object or array on standard output. Bytes that are not UTF-8, such as in a file name, become
/// U+FFFD.
void print_json(const nlohmann::ordered_json& json);

/// A command line and what it does.
struct Example {
  std::string line;  ///< "twingrad data list"
  std::string purpose;
};

/// Adds a command to the program. --help ends with the examples, which the tests run.
CLI::App& add_command(CLI::App& program, const std::string& name, const std::string& description,
                      const std::vector<Example>& examples);

/// Adds an option to a command; if it is repeated, the last value is used. --help shows it as "--lr
/// NUMBER=1e-3   learning rate". value_name: empty for a flag. default_text: empty if no default is shown.
/// names: the values of a choice.
void add_option(CLI::App& command, const std::string& group, const std::string& name,
                const std::string& value_name, const std::string& default_text, const std::string& help,
                const std::vector<std::string>& names);

/// The values of an option that is a choice; otherwise empty.
std::vector<std::string> names_of_values(const CLI::Option& option);

/// Adds an option for each field of the table, except those with these names.
template <typename Options>
void add_fields(CLI::App& command, const FieldTable<Options>& table,
                const std::vector<std::string>& omitted = {}) {
  for (const Field<Options>& field : table.fields) {
    if (std::find(omitted.begin(), omitted.end(), field.option) != omitted.end()) {
      continue;
    }
    const bool has_default = field.has_default && !field.value_name.empty();
    const std::string kinds = field.kinds.empty() ? "" : fmt::format("{}: ", fmt::join(field.kinds, ", "));
    add_option(command, table.title, field.option, field.value_name,
               has_default ? heading_text(field.write(Options())) : "", kinds + field.help, field.names);
  }
}

/// The options on a parsed command line.
GivenOptions given_options(const CLI::App& command);

/// Adds the fields of `options`, which may have received positional arguments already. The result runs the
/// command with the options on the parsed command line.
template <typename Options>
std::function<int()> command_with(CLI::App& command, const FieldTable<Options>& table,
                                  int (*run)(const Options&),
                                  const std::shared_ptr<Options>& options = std::make_shared<Options>()) {
  add_fields(command, table);
  return [&command, &table, run, options] {
    read_fields(table, given_options(command), *options);
    return run(*options);
  };
}

/// Parses the arguments of a program with commands, or of a single command. Returns false after printing
/// --help or --version. Throws UserError for invalid arguments, and suggests the nearest name for an unknown
/// one.
bool parse(CLI::App& program, std::vector<std::string> arguments);

/// Throws UserError unless `value` is given. what: the expected value; command: the command whose
/// --help the message refers to.
void require_value(const std::string& where, const std::string& value, const std::string& what,
                   const std::string& command);

}  // namespace twingrad::app
