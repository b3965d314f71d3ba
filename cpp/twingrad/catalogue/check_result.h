#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <optional>
#include <string>

namespace twingrad::catalogue {

/// The result of checking one entry against one reference: the worst of its cases.
struct Check {
  std::string name;  ///< of the entry
  /// The reference: "autograd", "finite-difference", "torch::optim", "torch::nn::utils" or "Python"; for float32,
  /// "float64", which is LibTorch's result in float64.
  std::string oracle;
  std::string dtype;  ///< "float64" or "float32"
  double max_abs_error = 0;
  double max_rel_error = 0;
  double tolerance = 0;  ///< for max_rel_error; for finite-difference, see check.cpp
  bool passed = false;
  std::string detail;  ///< the failed cases as text, with the table of the gradient check
};

/// Which checks to run, and where.
struct Where {
  std::optional<c10::ScalarType> dtype;  ///< none: float64 and float32
  c10::Device device = c10::DeviceType::CPU;
  bool until_failure = false;  ///< stop at the first failure: enough to reject a planted bug
};

/// The error of a central difference with one step size, relative to the largest entry of the gradient.
struct SweepPoint {
  double step = 0;
  double error = 0;
};

}  // namespace twingrad::catalogue
