#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "twingrad/gradcheck/difference.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/mlp/twin.h"

namespace twingrad {

/// How far the twins lie apart at one moment. Gradients are those of every parameter and every intermediate
/// result.
struct Agreement {
  std::int64_t epoch = 0;  ///< 0: before the first update
  std::int64_t step = 0;   ///< updates made so far
  double max_abs_gradient_difference = 0;
  double max_rel_gradient_difference = 0;
  double max_abs_weight_difference = 0;
  std::string worst;         ///< the gradient of the largest relative difference
  double autograd_loss = 0;  ///< of the batch whose gradients these are
  double manual_loss = 0;
  double loss_difference = 0;  ///< |a − m| / |a|
  /// Since the last report: by activation, how often its input lay on different sides of a kink in the two
  /// twins. Rounding does that, and then the gradients part honestly.
  std::map<std::string, std::int64_t> flips;
};

/// Fills in the gradients' part of `agreement` from the last backward of both.
void compare_gradients(const Twin& autograd, const Twin& manual, Agreement& agreement);

/// Fills in the weights' part.
void compare_weights(const Twin& autograd, const Twin& manual, Agreement& agreement);

/// Adds the kinks that the last forward of both crossed differently to agreement.flips.
void count_flips(const MlpSpec& spec, const Twin& autograd, const Twin& manual, Agreement& agreement);

/// The bound on max_rel_gradient_difference (and on loss_difference) before the first update.
///
/// The default initialization with up to three hidden layers and no normalization: 1e-13 in float64, 1e-6 in float32, some ten
/// times what is seen. Elsewhere rounding grows with the logits, so it is 64 ε · max(1, largest |logit|).
double agreement_bound(const MlpSpec& spec, at::ScalarType dtype, double largest_logit);

}  // namespace twingrad
