#pragma once

#include <string>
#include <vector>

#include "twingrad/compare/batch.h"
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

/// The largest difference in what one training step computes in two twins with the same weights: gradients,
/// updated parameters and, if both optimizers show it, their state. 0 if all are equal. Changes both twins.
LargestDifference compare_one_step(Twin& expected, Twin& actual, const Batch& batch);

}  // namespace twingrad
