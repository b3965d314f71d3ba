#include "app/tensor_values.h"

#include <torch/cuda.h>

#include "app/option_values.h"

namespace twingrad::app {

c10::ScalarType parse_dtype(const std::string& option, const std::string& text) {
  return choose<c10::ScalarType>(option, text,
                                 {{"float32", c10::ScalarType::Float}, {"float64", c10::ScalarType::Double}});
}

c10::DeviceType parse_device(const std::string& option, const std::string& text) {
  const auto device =
      choose<c10::DeviceType>(option, text, {{"cpu", c10::DeviceType::CPU}, {"cuda", c10::DeviceType::CUDA}});
  if (device == c10::DeviceType::CUDA && !torch::cuda::is_available()) {
    throw UserError(option, "expected a GPU that this LibTorch can use, found none", "use --device cpu");
  }
  return device;
}

}  // namespace twingrad::app
