#pragma once

#include <c10/core/DeviceType.h>
#include <c10/core/ScalarType.h>

#include <string>

namespace twingrad::app {

/// "float32" or "float64".
c10::ScalarType parse_dtype(const std::string& option, const std::string& text);

/// "cpu" or "cuda". Throws UserError if LibTorch cannot use a GPU.
c10::DeviceType parse_device(const std::string& option, const std::string& text);

/// Throws UserError if LibTorch cannot use the device.
void require_available(const std::string& option, c10::DeviceType device);

}  // namespace twingrad::app
