#include "app/model_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "twingrad/runtime/error.h"

namespace twingrad::app {
namespace {

namespace fs = std::filesystem;

std::string to_lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

/// The file with this name in lower or upper case; empty if there is none.
fs::path find_file(const fs::path& directory, const std::string& name) {
  std::error_code error;
  if (fs::exists(directory / name, error)) {
    return directory / name;
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) {
    if (to_lower(entry.path().filename().string()) == name) {
      return entry.path();
    }
  }
  return {};
}

}  // namespace

std::filesystem::path model_file(const std::string& model, const std::string& twin) {
  std::error_code error;
  if (!fs::is_directory(model, error)) {
    return model;
  }
  for (const std::string& name : {twin, std::string(twin == "manual" ? "autograd" : "manual")}) {
    if (fs::path file = find_file(model, name + ".safetensors"); !file.empty()) {
      return file;
    }
  }
  throw UserError("--model " + model,
                  "expected a run directory, found one without manual.safetensors and autograd.safetensors",
                  "name a file or the directory of a finished run");
}

void print_notes(const std::vector<std::string>& notes) {
  for (const std::string& note : notes) {
    fmt::print(stderr, "twingrad: {}\n", note);
  }
}

}  // namespace twingrad::app
