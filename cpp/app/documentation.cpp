#include "app/documentation.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <sstream>
#include <vector>

#include "app/command_line.h"
#include "app/recipe.h"
#include "twingrad/catalogue/targets.h"
#include "twingrad/data/dataset.h"
#include "twingrad/runtime/version.h"

namespace twingrad::app {
namespace {

std::vector<const CLI::App*> commands_of(const CLI::App& program) {
  return program.get_subcommands([](const CLI::App*) { return true; });
}

/// "--lr", or the name of an argument: "images".
std::string name_of(const CLI::Option& option) {
  return option.get_lnames().empty() ? option.get_name(true) : "--" + option.get_lnames().front();
}

// ---- Manual page ------------------------------------------------------------------------------------------

/// Text of a manual page: a backslash, and a dot or quote at the start of a line, would be instructions.
std::string roff(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if ((c == '.' || c == '\'') && (result.empty() || result.back() == '\n')) {
      result += "\\&";
    }
    result += c == '\\' ? "\\e" : c == '-' ? "\\-" : std::string(1, c);
  }
  return result;
}

/// The lines of a text that --help breaks, as one paragraph.
std::string paragraph(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return roff(text);
}

std::string manual_entry(const CLI::Option& option) {
  std::string value = option.get_type_name();
  std::string text = ".TP\n\\fB" + roff(name_of(option)) + "\\fR";
  if (!value.empty()) {
    text += " \\fI" + roff(value) + "\\fR";
  }
  if (!option.get_default_str().empty()) {
    text += roff(" (default: " + option.get_default_str() + ")");
  }
  return text + "\n" + paragraph(option.get_description()) + "\n";
}

std::string manual_section(const CLI::App& command) {
  std::string text =
      fmt::format(".SS twingrad {}\n{}\n", command.get_name(), roff(command.get_description()));
  for (const CLI::Option* option : command.get_options()) {
    text += option == command.get_help_ptr() ? "" : manual_entry(*option);
  }
  return text;
}

/// The lines "twingrad ..." of a footer with examples, and what they do.
std::string manual_examples(const CLI::App& command) {
  std::istringstream lines(command.get_footer());
  std::string text;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t start = line.find_first_not_of(' ');
    if (start == std::string::npos || start == 0) {
      continue;
    }
    const std::string content = roff(line.substr(start));
    text += content.starts_with("twingrad ") ? ".TP\n\\fB" + content + "\\fR\n" : content + "\n";
  }
  return text;
}

// ---- Completion -------------------------------------------------------------------------------------------

std::vector<std::string> bug_names() {
  std::vector<std::string> names = {"none"};
  for (const catalogue::Target& target : catalogue::all_targets()) {
    for (const catalogue::TargetBug& bug : target.bugs) {
      names.push_back(bug.name);
    }
  }
  return names;
}

/// The known values of an option or argument. Empty: none are known.
std::vector<std::string> values_of(const std::string& name, const CLI::Option& option) {
  std::vector<std::string> values = names_of_values(option);
  if (name == "--recipe") {
    values = recipe_names();
  } else if (name == "--dataset" || name == "dataset") {
    for (const data::NamedDataset& dataset : data::named_datasets()) {
      values.push_back(dataset.name);
    }
    values.push_back("synthetic");
  } else if (name == "--bug") {
    values = bug_names();
  } else if (name == "names") {
    for (const catalogue::Target& target : catalogue::all_targets()) {
      values.push_back(target.name);
    }
  } else if (name == "action") {
    values = {"list", "verify"};
  }
  return values;
}

std::string completion_case(const std::string& pattern, const std::vector<std::string>& words) {
  return fmt::format("    '{}') words='{}' ;;\n", pattern, fmt::join(words, " "));
}

/// What follows each option, and what may stand anywhere else: options, and values of arguments.
std::string completion_cases(const CLI::App& command) {
  std::vector<std::string> anywhere;
  std::string text;
  for (const CLI::Option* option : command.get_options()) {
    const std::string name = name_of(*option);
    const std::vector<std::string> values = values_of(name, *option);
    if (!name.starts_with("--")) {
      anywhere.insert(anywhere.end(), values.begin(), values.end());
      continue;
    }
    anywhere.push_back(name);
    if (!option->get_type_name().empty()) {
      text += completion_case(command.get_name() + " " + name, values);
    }
  }
  return text + fmt::format("    '{} '*) words='{}' ;;\n", command.get_name(), fmt::join(anywhere, " "));
}

// Without a word that fits, bash completes file names (-o default).
constexpr const char* kCompletion = R"(# Completes the commands and options of twingrad in bash.
_twingrad() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}} command='' word words=''
  if [[ $current == '=' ]]; then
    current=''
  elif [[ $previous == '=' ]]; then
    previous=${{COMP_WORDS[COMP_CWORD - 2]}}
  fi
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD - 1}}"; do
    if [[ $word != -* ]]; then
      command=$word
      break
    fi
  done
  case "$command $previous" in
{cases}    ' '*) words='{commands}' ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}}
complete -o default -F _twingrad twingrad
)";

}  // namespace

std::string manual_page(const CLI::App& program) {
  std::string commands;
  std::string examples;
  for (const CLI::App* command : commands_of(program)) {
    commands += manual_section(*command);
    examples += manual_examples(*command);
  }
  return fmt::format(
      ".TH TWINGRAD 1 \"\" \"twingrad {}\" \"User Commands\"\n"
      ".SH NAME\ntwingrad \\- {}\n"
      ".SH SYNOPSIS\n.B twingrad\n.I COMMAND\n[\\fIOPTION\\fR]...\n"
      ".SH COMMANDS\n{}"
      ".SH EXIT STATUS\n"
      ".TP\n0\ndone\n.TP\n1\na check failed, or the twins disagree\n.TP\n2\nwrong usage or invalid input\n"
      ".TP\n130\ninterrupted; a training run has written its checkpoint\n"
      ".SH ENVIRONMENT\n.TP\nOMP_NUM_THREADS\ndefault of \\fB\\-\\-threads\\fR\n"
      ".SH EXAMPLES\n{}",
      version(), paragraph(program.get_description()), commands, examples);
}

std::string bash_completion(const CLI::App& program) {
  std::string cases;
  std::vector<std::string> words = {"--help", "--version"};
  for (const CLI::App* command : commands_of(program)) {
    words.push_back(command->get_name());
    cases += completion_cases(*command);
  }
  return fmt::format(kCompletion, fmt::arg("cases", cases),
                     fmt::arg("commands", fmt::format("{}", fmt::join(words, " "))));
}

}  // namespace twingrad::app
