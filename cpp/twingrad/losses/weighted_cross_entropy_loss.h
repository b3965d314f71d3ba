#pragma once

#include <c10/util/StringUtil.h>

#include <stdexcept>

#include "twingrad/layers/log_softmax.h"
#include "twingrad/losses/class_loss.h"

namespace twingrad::nn {

/// Cross-entropy from logits z and class indices t with all the options of torch::nn::CrossEntropyLoss: class
/// weights w, an ignored index, label smoothing s.
///
///   ℓ        = −(1 − s) w_t log p_t − s/C Σ_k w_k log p_k  =  −Σ_k q_k log p_k,     p = softmax(z)
///   q_k      = w_k ((1 − s) [k = t] + s/C)              smoothing spreads the share s of the label evenly
///   ∂ℓ/∂z_j  = p_j Σ_k q_k − q_j
///
/// Without options q is one-hot, and this is CrossEntropyLoss. The mean divides by Σ_n w_t, smoothed or not.
///
/// input (the logits) [N, C]; target [N], int64; ℓ [N]. Weights, ignored rows and the mean: see ClassLoss.
/// Source: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, Rethinking the inception architecture (2016), section 7.
class WeightedCrossEntropyLoss final : public ClassLoss {
 public:
  /// Throws std::invalid_argument unless 0 ≤ label_smoothing ≤ 1.
  explicit WeightedCrossEntropyLoss(const ClassLossOptions& options = {}, double label_smoothing = 0)
      : ClassLoss(options), smoothing_(label_smoothing) {
    if (!(smoothing_ >= 0 && smoothing_ <= 1)) {
      throw std::invalid_argument(
          c10::str("WeightedCrossEntropyLoss: label_smoothing must be between 0 and 1, but is ", smoothing_));
    }
  }

 protected:
  Tensor value(const Tensor& logits, const Tensor& target) override {
    read(target, logits);
    log_p_ = log_softmax_.forward(logits);
    Tensor losses = (log_p_.gather(1, index_).squeeze(1) * row_weights_).mul_(smoothing_ - 1);
    if (smoothing_ > 0) {
      const Tensor weighted = class_weights_.defined() ? log_p_ * class_weights_ : log_p_;
      losses.sub_(weighted.sum(1), share_of_a_class());
    }
    return losses.masked_fill_(ignored_, 0);
  }

  Tensor derivative() override {
    const Tensor q = at::full_like(log_p_, share_of_a_class());
    if (class_weights_.defined()) {
      q.mul_(class_weights_);
    }
    q.scatter_add_(1, index_, row_weights_.unsqueeze(1) * (1 - smoothing_));
    return at::exp_out(sized(grad_, log_p_.sizes(), log_p_), log_p_).mul_(q.sum(1, /*keepdim=*/true)).sub_(q);
  }

 private:
  double share_of_a_class() const { return smoothing_ / static_cast<double>(log_p_.size(1)); }

  double smoothing_;
  LogSoftmax log_softmax_;
  Tensor log_p_, grad_;
};

}  // namespace twingrad::nn
