#pragma once

#include "twingrad/losses/loss.h"

namespace twingrad {

/// Softmax and cross-entropy in one, from logits z and class indices t, as torch::nn::CrossEntropyLoss.
///
///   ℓ        = −log p_t,   p = softmax(z)       =  m + log Σ_k exp(z_k − m) − z_t,   m = max_k z_k
///   ∂ℓ/∂z_j  = p_j − [j = t]
///
/// The quotient inside softmax and the logarithm outside meet in log Σ exp, so that nothing overflows or
/// vanishes: logits of ±1e4 are exact. With the mean each row's gradient is divided by N, with the sum it is
/// not.
///
/// input (the logits) [N, C]; target [N], int64, 0 … C − 1; ℓ [N]. Class weights, label smoothing and an
/// index to ignore: weighted_cross_entropy.h.
///
/// Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 6.2.2.3.
class CrossEntropy final : public Loss {
 public:
  using Loss::Loss;

 protected:
  Tensor value(const Tensor& logits, const Tensor& target) override {
    target_ = target.unsqueeze(1);
    at::amax_out(sized(max_, target_.sizes(), logits), logits, 1, /*keepdim=*/true);
    at::sub_out(sized(shifted_, logits.sizes(), logits), logits, max_);
    at::exp_out(sized(exp_, logits.sizes(), logits), shifted_);
    at::sum_out(sized(sum_of_exp_, target_.sizes(), logits), exp_, 1, /*keepdim=*/true);
    at::gather_out(sized(shifted_target_, target_.sizes(), logits), shifted_, 1, target_);
    return at::log_out(sized(losses_, target_.sizes(), logits), sum_of_exp_).sub_(shifted_target_).squeeze(1);
  }

  Tensor& derivative() override {
    at::div_out(sized(grad_, exp_.sizes(), exp_), exp_, sum_of_exp_);
    return grad_.scatter_add_(1, target_, sized(minus_one_, target_.sizes(), exp_).fill_(-1));
  }

 private:
  Tensor target_, shifted_, exp_, grad_;                           // [N, C]; target_ [N, 1]
  Tensor max_, sum_of_exp_, shifted_target_, losses_, minus_one_;  // [N, 1]
};

}  // namespace twingrad
