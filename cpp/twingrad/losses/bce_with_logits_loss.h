#pragma once

#include "twingrad/losses/loss.h"

namespace twingrad::nn {

struct BCEWithLogitsLossOptions {
  Reduction reduction = Reduction::mean;
  Tensor weight = {};      ///< w, of a shape that broadcasts to [N, C]; {}: all 1
  Tensor pos_weight = {};  ///< a, the same
};

/// Binary cross-entropy of sigmoid probabilities, from logits z and labels t in [0, 1], as
/// torch::nn::BCEWithLogitsLoss.
///
///   ℓ      = −w (a t log σ(z) + (1 − t) log(1 − σ(z)))  =  w ((1 − t) z + b log(1 + exp(−z)))
///   b      = 1 + (a − 1) t
///   ∂ℓ/∂z  = w (b σ(z) − a t)                           without a: w (σ(z) − t)
///
/// This uses log σ(z) = −log(1 + exp(−z)), log(1 − σ(z)) = −z − log(1 + exp(−z)) and log(1 + exp(−z)) =
/// max(−z, 0) + log(1 + exp(−|z|)), in which no exponential overflows. w is the weight of an entry,
/// a (pos_weight) that of a positive label.
///
/// input (the logits), target, ℓ [N, C], or any equal shape; the mean divides by N·C, whatever the weights.
/// Source: Bishop, Pattern Recognition and Machine Learning (2006), section 4.3.2.
class BCEWithLogitsLoss final : public Loss {
 public:
  explicit BCEWithLogitsLoss(const BCEWithLogitsLossOptions& options = {})
      : Loss(options.reduction), options_(options) {}

 protected:
  /// Throws std::invalid_argument unless the target has the shape of the logits.
  Tensor value(const Tensor& logits, const Tensor& target) override {
    require_equal_shapes("BCEWithLogitsLoss", logits, target);
    logits_ = logits;
    target_ = target;
    const Tensor log1p_exp = logits.abs().neg_().exp_().log1p_().sub_(logits.clamp_max(0));
    const Tensor losses = (1 - target).mul_(logits).add_(log1p_exp.mul_(factor_b()));
    return options_.weight.defined() ? losses.mul_(options_.weight) : losses;
  }

  Tensor derivative() override {
    at::sigmoid_out(sized(grad_, logits_.sizes(), logits_), logits_);
    grad_.mul_(factor_b()).sub_(target_ * positive());
    return options_.weight.defined() ? grad_.mul_(options_.weight) : grad_;
  }

 private:
  /// a
  Tensor positive() const {
    return options_.pos_weight.defined() ? options_.pos_weight : at::ones({}, target_.options());
  }
  Tensor factor_b() const { return (target_ * (positive() - 1)).add_(1); }

  BCEWithLogitsLossOptions options_;
  Tensor logits_, target_, grad_;
};

}  // namespace twingrad::nn
