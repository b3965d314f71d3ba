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
    for (Tensor* column : {&sum_of_exp_, &losses_}) {
      sized(*column, target_.sizes(), logits);
    }
    sized(exp_, logits.sizes(), logits);
    is_one_pass_ = value_in_one_pass(logits, target);
    if (!is_one_pass_) {
      value_by_tensor_operations(logits);
    }
    return losses_.squeeze(1);
  }

  Tensor& derivative() override {
    sized(grad_, exp_.sizes(), exp_);
    is_one_pass_ ? derivative_in_one_pass() : derivative_by_tensor_operations();
    return grad_;
  }

 private:
  /// The formulas above, an operation a line, on any device.
  void value_by_tensor_operations(const Tensor& logits) {
    at::amax_out(sized(max_, target_.sizes(), logits), logits, 1, /*keepdim=*/true);
    at::sub_out(sized(shifted_, logits.sizes(), logits), logits, max_);
    at::exp_out(exp_, shifted_);
    at::sum_out(sum_of_exp_, exp_, 1, /*keepdim=*/true);
    at::log_out(losses_, sum_of_exp_).sub_(shifted_.gather(1, target_));
  }

  void derivative_by_tensor_operations() {
    at::div_out(grad_, exp_, sum_of_exp_);
    grad_.scatter_add_(1, target_, at::full_like(sum_of_exp_, -1));
  }

  /// The same, row by row (cross_entropy_one_pass.cpp). The first returns false, having done nothing, unless logits and
  /// targets are contiguous on the CPU and each target is a class; only then may the second follow.
  bool value_in_one_pass(const Tensor& logits, const Tensor& target);
  void derivative_in_one_pass();

  bool is_one_pass_ = false;
  Tensor exp_, grad_, shifted_;                // [N, C]
  Tensor target_, max_, sum_of_exp_, losses_;  // [N, 1]
};

}  // namespace twingrad
