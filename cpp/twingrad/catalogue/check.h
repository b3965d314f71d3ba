#pragma once

#include <string>
#include <vector>

#include "twingrad/catalogue/entry.h"
#include "twingrad/catalogue/optimizers.h"

namespace twingrad::catalogue {

/// One entry held against one oracle, the worst of its cases.
struct Check {
  std::string name;    ///< of the entry
  std::string oracle;  ///< "autograd", "finite-difference", "float64" (of a float32 run), "torch::optim"
  std::string dtype;   ///< "float64" or "float32"
  double max_abs_error = 0;
  double max_rel_error = 0;
  double tolerance = 0;  ///< on max_rel_error; finite-difference: see check.cpp
  bool passed = false;
  std::string detail;  ///< what failed, for a person: the case, the verdict's table
};

/// All checks of an entry, by hand as it is.
std::vector<Check> check(const Entry& entry);
std::vector<Check> check(const OptimizerEntry& entry);

/// The same with a bug planted.
std::vector<Check> check(const Entry& entry, const Bug& bug);
std::vector<Check> check(const OptimizerEntry& entry, const OptimizerBug& bug);

/// A central difference's error at one step size, relative to the largest entry of the gradient.
struct SweepPoint {
  double step = 0;
  double error = 0;
};

/// The error of central differences of a smooth case, step sizes 1e-1 … 1e-12: large steps err by h², small
/// ones by ε/h. Empty for an entry without a smooth case.
std::vector<SweepPoint> sweep(const Entry& entry);

}  // namespace twingrad::catalogue
