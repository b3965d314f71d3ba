#pragma once

#include <filesystem>
#include <string>

namespace twingrad::app {

/// The file that --model means: itself, or that of a twin in the folder of a run, of the other twin if only that one trained.
/// Throws UserError if there is none.
std::filesystem::path model_file(const std::string& model, const std::string& twin);

}  // namespace twingrad::app
