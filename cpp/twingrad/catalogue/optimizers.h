#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "twingrad/catalogue/entry.h"
#include "twingrad/compare/difference.h"
#include "twingrad/optim/optimizer.h"
#include "twingrad/optim/options.h"

namespace twingrad::catalogue {

/// A common mistake in an update rule. It must be rejected.
struct OptimizerBug {
  std::string name;
  std::string why;
  std::function<std::unique_ptr<optim::Optimizer>()> make;
};

/// A hand-written optimizer and LibTorch's with the same options.
struct OptimizerEntry {
  std::string name;
  OptimizerOptions options;
  std::vector<OptimizerBug> bugs = {};
};

std::vector<OptimizerEntry> optimizer_entries();

/// Runs an optimizer and LibTorch's with these options on the same random gradients, whose sizes range from
/// 1e-9, where a misplaced epsilon becomes visible, to 10. LibTorch's runs in float64, ours in the dtype of
/// `placement`, both on its device. In float32 ours starts every step from LibTorch's parameters: a rule that
/// divides by a gradient near 0, as RMSprop with weight decay does, amplifies rounding from step to step.
///
/// Returns the largest difference of a parameter over 1,000 steps; relative: |a − m| / max(1, |a|).
Difference compare_steps(optim::Optimizer& optimizer, const OptimizerOptions& options,
                         const at::TensorOptions& placement);

}  // namespace twingrad::catalogue
