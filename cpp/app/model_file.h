#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "twingrad/runtime/fields.h"

namespace twingrad::app {

/// The option --model of predict and export.
template <typename Options>
Field<Options> model_field(std::string Options::*member) {
  return text("--model", "FILE|DIR", member, "weights (.safetensors or .pt), or a run directory")
      .without_default();
}

/// The file that --model names: the file itself, or that of `twin` in a run directory, in lower or upper
/// case. If only the other twin was trained, its file. Throws UserError if there is none.
std::filesystem::path model_file(const std::string& model, const std::string& twin);

/// Prints what was changed in weights while they were read, to standard error.
void print_notes(const std::vector<std::string>& notes);

}  // namespace twingrad::app
