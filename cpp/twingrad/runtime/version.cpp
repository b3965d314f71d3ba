#include "twingrad/runtime/version.h"

#include <torch/version.h>

namespace twingrad {

std::string version() { return TWINGRAD_VERSION; }

std::string libtorch_version() {
  return std::to_string(TORCH_VERSION_MAJOR) + "." + std::to_string(TORCH_VERSION_MINOR) + "." +
         std::to_string(TORCH_VERSION_PATCH);
}

}  // namespace twingrad
