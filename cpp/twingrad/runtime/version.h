#pragma once

#include <string>

namespace twingrad {

/// The version of this library, "0.1.0".
std::string version();

/// The version of LibTorch that the library was built with, "1.13.1".
std::string libtorch_version();

}  // namespace twingrad
