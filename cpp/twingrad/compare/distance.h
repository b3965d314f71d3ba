#pragma once

#include <string>
#include <vector>

#include "twingrad/compare/difference.h"
#include "twingrad/mlp/twin.h"

namespace twingrad {

/// The largest difference between two lists of tensors, paired by name. It is infinite if a tensor has no
/// counterpart or if both lists are empty.
struct LargestDifference {
  double absolute = 0;
  double relative = 0;  ///< max|a − m| / max|a| of the worst tensor
  std::string worst;    ///< its name
};
LargestDifference largest_difference(const std::vector<NamedTensor>& expected,
                                     const std::vector<NamedTensor>& actual);

/// The difference between the parameters of two trainings.
LargestDifference compare_weights(const Twin& autograd, const Twin& manual);

/// Compares the states of the two optimizers after the same number of updates: exp_avg, momentum_buffer, … of
/// each parameter. 0 for optimizers without a state.
LargestDifference compare_optimizer_state(const Twin& autograd, const Twin& manual);

}  // namespace twingrad
