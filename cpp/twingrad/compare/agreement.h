#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace twingrad {

/// The differences between the twins. Gradients are those of all parameters and all intermediate results.
struct Agreement {
  std::int64_t epoch = 0;  ///< 0: before the first update
  std::int64_t step = 0;   ///< updates made so far
  double max_abs_gradient_difference = 0;
  double max_rel_gradient_difference = 0;
  double max_abs_weight_difference = 0;
  double max_abs_optimizer_state_difference = 0;
  std::string worst;         ///< name of the gradient with the largest relative difference
  double autograd_loss = 0;  ///< of the batch that the gradients belong to
  double manual_loss = 0;
  double loss_difference = 0;  ///< |a − m| / |a|
  /// Activation sign mismatches since the last report: the number of inputs of an activation that were on
  /// different sides of a kink in the two twins. Rounding causes this, and the gradients then differ
  /// legitimately.
  std::map<std::string, std::int64_t> flips;
};

}  // namespace twingrad
