#pragma once

#include "twingrad/compare/difference.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/mlp/twin.h"
#include "twingrad/training/progress.h"

namespace twingrad {

/// Fills in the gradients' part of `agreement` from the last backward of both.
void compare_gradients(const Twin& autograd, const Twin& manual, Agreement& agreement);

/// Fills in the weights' part.
void compare_weights(const Twin& autograd, const Twin& manual, Agreement& agreement);

/// Adds the kinks that the last forward of both crossed differently to agreement.flips.
void count_flips(const MlpSpec& spec, const Twin& autograd, const Twin& manual, Agreement& agreement);

/// The bound on max_rel_gradient_difference (and on loss_difference) before the first update.
///
/// The default initialization with up to three hidden layers and no normalization: 1e-13 in float64, 1e-6 in float32, some ten
/// times what is seen. Elsewhere, and with weights that were trained before, rounding grows with the logits, so it is
/// 64 ε · max(1, largest |logit|).
double agreement_bound(const MlpSpec& spec, at::ScalarType dtype, double largest_logit,
                       bool weights_are_given = false);

}  // namespace twingrad
