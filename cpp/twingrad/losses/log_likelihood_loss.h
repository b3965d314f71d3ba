#pragma once

#include "twingrad/losses/loss.h"

namespace twingrad::nn {

/// The negative log-likelihood in the chain softmax → log → mean, from log-probabilities and a matrix of
/// labels.
///
///   ℓ             = −Σ_k label_k · log p_k
///   ∂ℓ/∂(log p_k) = −label_k
///
/// A row of labels is one-hot or a distribution. The gradient of the mean is divided by N, that of the sum is
/// not: the classroom exercise reports the mean but minimizes the sum.
///
/// input (the log-probabilities) [N, C]; target (the labels) [N, C], of the dtype of the input; ℓ [N]. For
/// class indices instead of labels: nll_loss.h.
class LogLikelihoodLoss final : public Loss {
 public:
  using Loss::Loss;

 protected:
  Tensor value(const Tensor& log_probabilities, const Tensor& labels) override {
    labels_ = labels;
    return (labels * log_probabilities).sum(1).neg_();
  }

  Tensor derivative() override { return at::neg_out(sized(grad_, labels_.sizes(), labels_), labels_); }

 private:
  Tensor labels_, grad_;
};

}  // namespace twingrad::nn
