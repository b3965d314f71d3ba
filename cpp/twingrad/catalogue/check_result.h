#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <optional>
#include <string>

namespace twingrad::catalogue {

/// The comparison of an entry with one reference: the worst of its cases.
struct Check {
  std::string name;  ///< of the entry
  /// The reference: "autograd", "finite-difference", "torch::optim", "torch::nn::utils", "LibTorch",
  /// "Python"; in float32 "float64", which is LibTorch's result in float64.
  std::string oracle;
  std::string dtype;     ///< "float64" or "float32"
  double tolerance = 0;  ///< on max_rel_error; finite-difference: see check.cpp
  double max_abs_error = 0;
  double max_rel_error = 0;
  bool passed = true;
  std::string detail = {};  ///< what failed: the case, the table of the gradient checker
};

/// Which checks are run, and where.
struct Where {
  std::optional<c10::ScalarType> dtype = {};  ///< none: float64 and float32
  c10::Device device = c10::DeviceType::CPU;
  bool until_failure = false;  ///< stop at the first check that fails: enough to reject a planted bug
};

/// The error of a central difference with one step size, relative to the largest entry of the gradient.
struct SweepPoint {
  double step = 0;
  double error = 0;
};

}  // namespace twingrad::catalogue
