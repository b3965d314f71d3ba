#include "app/tensor_values.h"

#include <torch/cuda.h>

#include "twingrad/runtime/option_values.h"
#include "twingrad/training/options.h"

namespace twingrad::app {

c10::ScalarType parse_dtype(const std::string& option, const std::string& text) {
  return choose(option, text, dtypes());
}

c10::DeviceType parse_device(const std::string& option, const std::string& text) {
  const c10::DeviceType device = choose(option, text, device_types());
  require_available(option, device);
  return device;
}

void require_available(const std::string& option, c10::DeviceType device) {
  if (device == c10::DeviceType::CUDA && !torch::cuda::is_available()) {
    throw UserError(option, "expected a GPU that this LibTorch can use, found none", "use --device cpu");
  }
}

}  // namespace twingrad::app
