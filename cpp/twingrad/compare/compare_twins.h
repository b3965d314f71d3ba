#pragma once

#include <string>
#include <vector>

#include "twingrad/compare/agreement.h"
#include "twingrad/compare/difference.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/mlp/twin.h"

namespace twingrad {

/// The largest difference between two lists of tensors, paired by name. It is infinite if a tensor is missing
/// from one list, and if both lists are empty.
struct LargestDifference {
  double absolute = 0;
  double relative = 0;  ///< max|a − m| / max|a| of the worst tensor
  std::string worst;    ///< its name
};
LargestDifference largest_difference(const std::vector<NamedTensor>& expected,
                                     const std::vector<NamedTensor>& actual);

/// Sets the fields of `agreement` for gradients and loss, from the last backward of both twins.
void compare_gradients(const Twin& autograd, const Twin& manual, Agreement& agreement);

/// Sets the field for weights.
void compare_weights(const Twin& autograd, const Twin& manual, Agreement& agreement);

/// The states of the two optimizers, after the same number of updates: exp_avg, momentum_buffer, … of each
/// parameter. 0 for optimizers without a state.
LargestDifference compare_optimizer_state(const Twin& autograd, const Twin& manual);

/// Adds to agreement.flips, for each activation, the number of its inputs that were on different sides of a
/// kink in the two twins in the last forward.
void count_flips(const MlpSpec& spec, const Twin& autograd, const Twin& manual, Agreement& agreement);

/// The bound on max_rel_gradient_difference (and on loss_difference) before the first update.
///
/// 1e-13 in float64 and 1e-6 in float32, some ten times what is measured, for the default initialization with
/// up to three hidden layers and no normalization. Otherwise, and for weights that were trained before,
/// rounding grows with the logits: 64 ε · max(1, largest |logit|).
double agreement_bound(const MlpSpec& spec, at::ScalarType dtype, double largest_logit,
                       bool weights_are_given = false);

}  // namespace twingrad
