#include "app/model_file.h"

#include "twingrad/runtime/error.h"

namespace twingrad::app {

std::filesystem::path model_file(const std::string& model, const std::string& twin) {
  std::error_code error;
  if (!std::filesystem::is_directory(model, error)) {
    return model;
  }
  for (const std::string& name : {twin, std::string(twin == "manual" ? "autograd" : "manual")}) {
    std::filesystem::path file = std::filesystem::path(model) / (name + ".safetensors");
    if (std::filesystem::exists(file, error)) {
      return file;
    }
  }
  throw UserError("--model " + model,
                  "expected a run directory, found one without manual.safetensors and autograd.safetensors",
                  "name a file or the directory of a finished run");
}

}  // namespace twingrad::app
