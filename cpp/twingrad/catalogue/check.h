#pragma once

#include <optional>
#include <string>
#include <vector>

#include "twingrad/catalogue/entry.h"
#include "twingrad/catalogue/optimizers.h"
#include "twingrad/catalogue/schedules.h"

namespace twingrad::catalogue {

/// One entry held against one oracle, the worst of its cases.
struct Check {
  std::string name;  ///< of the entry
  /// "autograd", "finite-difference", "torch::optim", "torch::nn::utils", "Python"; of a float32 run "float64",
  /// LibTorch's own result in float64.
  std::string oracle;
  std::string dtype;  ///< "float64" or "float32"
  double max_abs_error = 0;
  double max_rel_error = 0;
  double tolerance = 0;  ///< on max_rel_error; finite-difference: see check.cpp
  bool passed = false;
  std::string detail;  ///< what failed, for a person: the case, the verdict's table
};

/// Which checks are run, and where.
struct Where {
  std::optional<at::ScalarType> dtype;  ///< none: float64 and float32
  at::Device device = at::kCPU;
  bool until_failure = false;  ///< leave off at the first that fails: enough to reject a planted bug
};

/// The checks of an entry, by hand as it is. None if it has none of that dtype: a schedule knows no float32.
std::vector<Check> check(const Entry& entry, const Where& where = {});
std::vector<Check> check(const OptimizerEntry& entry, const Where& where = {});
std::vector<Check> check(const ValuesEntry& entry, const Where& where = {});

/// The same with a bug planted.
std::vector<Check> check(const Entry& entry, const Bug& bug, const Where& where = {});
std::vector<Check> check(const OptimizerEntry& entry, const OptimizerBug& bug, const Where& where = {});
std::vector<Check> check(const ValuesEntry& entry, const ValuesBug& bug, const Where& where = {});

/// A central difference's error at one step size, relative to the largest entry of the gradient.
struct SweepPoint {
  double step = 0;
  double error = 0;
};

/// The error of central differences of a smooth case, step sizes 1e-1 … 1e-12: large steps err by h², small
/// ones by ε/h. Empty for an entry without a smooth case.
std::vector<SweepPoint> sweep(const Entry& entry);

}  // namespace twingrad::catalogue
