#pragma once

#include <filesystem>
#include <string>

#include "app/command_line.h"

namespace twingrad::app {

/// The option --model of predict and export.
extern const OptionHelp kModelOption;

/// The file that --model names: the file itself, or that of `twin` in a run directory. If only the other twin
/// was trained, its file. Throws UserError if there is none.
std::filesystem::path model_file(const std::string& model, const std::string& twin);

}  // namespace twingrad::app
