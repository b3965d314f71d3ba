#pragma once

#include <c10/util/StringUtil.h>

#include <stdexcept>

#include "twingrad/layers/log_softmax.h"
#include "twingrad/losses/loss.h"

namespace twingrad::nn {

struct SoftCrossEntropyLossOptions {
  Reduction reduction = Reduction::mean;
  Tensor class_weights = {};  ///< w [C], of the dtype of the input; {}: all 1
  double label_smoothing = 0;
};

/// Cross-entropy from logits z and class probabilities t, as torch::nn::CrossEntropyLoss with a target of
/// floating dtype: class weights w, label smoothing s.
///
///   ℓ        = −Σ_k q_k log p_k,   p = softmax(z),   q_k = w_k ((1 − s) t_k + s/C)
///   ∂ℓ/∂z_j  = p_j Σ_k q_k − q_j
///
/// If Σ_k q_k = 1 this is p − q. The mean divides by N, whatever the weights.
///
/// input (the logits) [N, C]; target [N, C], of the dtype of the input; ℓ [N].
/// Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 3.13.
class SoftCrossEntropyLoss final : public Loss {
 public:
  /// Throws std::invalid_argument unless 0 ≤ label_smoothing ≤ 1.
  explicit SoftCrossEntropyLoss(const SoftCrossEntropyLossOptions& options = {})
      : Loss(options.reduction), options_(options) {
    if (!(options_.label_smoothing >= 0 && options_.label_smoothing <= 1)) {
      throw std::invalid_argument(
          c10::str("SoftCrossEntropyLoss: label_smoothing must be between 0 and 1, but is ",
                   options_.label_smoothing));
    }
  }

 protected:
  /// Throws std::invalid_argument unless the target has the shape of the logits.
  Tensor value(const Tensor& logits, const Tensor& target) override {
    require_equal_shapes("SoftCrossEntropyLoss", logits, target);
    const auto& [reduction, class_weights, smoothing] = options_;
    log_p_ = log_softmax_.forward(logits);
    q_ = (target * (1 - smoothing)).add_(smoothing / static_cast<double>(logits.size(1)));
    if (class_weights.defined()) {
      q_.mul_(class_weights);
    }
    return (log_p_ * q_).sum(1).neg_();
  }

  Tensor derivative() override {
    at::exp_out(sized(grad_, log_p_.sizes(), log_p_), log_p_);
    return grad_.mul_(q_.sum(1, /*keepdim=*/true)).sub_(q_);
  }

 private:
  SoftCrossEntropyLossOptions options_;
  LogSoftmax log_softmax_;
  Tensor log_p_, q_, grad_;
};

}  // namespace twingrad::nn
