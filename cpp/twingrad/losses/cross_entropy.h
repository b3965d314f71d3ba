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
    at::sub_out(sized(shifted_, logits.sizes(), logits), logits, at::amax(logits, 1, /*keepdim=*/true));
    at::exp_out(sized(exp_, logits.sizes(), logits), shifted_);
    sum_of_exp_ = exp_.sum(1, /*keepdim=*/true);
    return (sum_of_exp_.log() - shifted_.gather(1, target_)).squeeze(1);
  }

  Tensor& derivative() override {
    const Tensor one_hot = at::zeros_like(exp_).scatter_(1, target_, 1);
    return at::div_out(sized(grad_, exp_.sizes(), exp_), exp_, sum_of_exp_).sub_(one_hot);
  }

 private:
  Tensor target_, shifted_, exp_, sum_of_exp_, grad_;
};

}  // namespace twingrad
