#pragma once

#include "twingrad/losses/class_loss.h"

namespace twingrad::nn {

/// Negative log-likelihood from log-probabilities x and class indices t, as torch::nn::NLLLoss.
///
///   ℓ        = −w_t x_t
///   ∂ℓ/∂x_j  = −w_t [j = t]
///
/// input (the log-probabilities) [N, C]; target [N], int64; ℓ [N]. Weights w, ignored rows and the mean:
/// see ClassLoss. (If the weights of a batch sum to 0, the gradient of the mean is 0/0 = NaN in the entire
/// row; in LibTorch only at j = t.) For a matrix of labels instead of indices: log_likelihood_loss.h.
class NLLLoss final : public ClassLoss {
 public:
  explicit NLLLoss(const ClassLossOptions& options = {}) : ClassLoss(options) {}

 protected:
  Tensor value(const Tensor& log_probabilities, const Tensor& target) override {
    read(target, log_probabilities);
    sized(grad_, log_probabilities.sizes(), log_probabilities);
    return (log_probabilities.gather(1, index_).squeeze(1) * row_weights_).neg_().masked_fill_(ignored_, 0);
  }

  Tensor derivative() override { return grad_.zero_().scatter_(1, index_, -row_weights_.unsqueeze(1)); }

 private:
  Tensor grad_;
};

}  // namespace twingrad::nn
