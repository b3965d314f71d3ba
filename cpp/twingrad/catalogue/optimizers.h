#pragma once

#include <torch/optim/optimizer.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "twingrad/optim/optimizer.h"

namespace twingrad::catalogue {

using namespace optim;  // NOLINT: see entry.h

/// A classic mistake in an update rule. It must be rejected.
struct OptimizerBug {
  std::string name;
  std::string why;
  std::function<std::unique_ptr<Optimizer>()> make;
};

/// An optimizer of this library, and LibTorch's of the same options.
struct OptimizerEntry {
  std::string name;
  std::function<std::unique_ptr<Optimizer>()> make;
  std::function<std::unique_ptr<torch::optim::Optimizer>(const Tensor& parameters)> reference;
  std::vector<OptimizerBug> bugs;
};

std::vector<OptimizerEntry> optimizer_entries();

/// How far the two lie apart at the worst of 1,000 steps on the same random gradients, whose sizes range from
/// 1e-9 (where alone a misplaced epsilon shows) to 10. LibTorch's walks in float64, ours in the dtype of the
/// options; both on their device. In float32 ours begins every step where LibTorch's stands: a rule that divides
/// by a gradient near 0, as RMSprop with weight decay does, makes a rounding grow from step to step.
struct Walk {
  double max_abs_difference = 0;
  double max_rel_difference = 0;  ///< |a − m| / max(1, |a|)
};
Walk walk_together(Optimizer& by_hand, const OptimizerEntry& entry, const at::TensorOptions& options);

}  // namespace twingrad::catalogue
