#pragma once

#include "twingrad/losses/loss.h"
#include "twingrad/ops/fused_cross_entropy.h"

namespace twingrad::nn {

/// Cross-entropy of softmax probabilities, from logits z and class indices t, as torch::nn::CrossEntropyLoss.
///
///   ℓ        = −log p_t,   p = softmax(z)       =  m + log Σ_k exp(z_k − m) − z_t,   m = max_k z_k
///   ∂ℓ/∂z_j  = p_j − [j = t]
///
/// Softmax and logarithm combine to log Σ exp, so nothing overflows or vanishes: logits of ±1e4 are exact.
/// With the mean, each row's gradient is divided by N; with the sum it is not.
///
/// input (the logits) [N, C]; target [N], int64, 0 … C − 1; ℓ [N]. Class weights, label smoothing and an
/// index to ignore: weighted_cross_entropy_loss.h.
///
/// Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 6.2.2.3.
class CrossEntropyLoss final : public Loss {
 public:
  using Loss::Loss;

 protected:
  Tensor value(const Tensor& logits, const Tensor& target) override {
    target_ = target;
    sized(buffers_.exp, logits.sizes(), logits);
    sized(buffers_.losses, {logits.size(0), 1}, logits);
    sized(buffers_.sum_of_exp, {logits.size(0), 1}, logits);
    ops::fused_cross_entropy(logits, target, buffers_);
    return buffers_.losses.squeeze(1);
  }

  Tensor derivative() override {
    ops::fused_cross_entropy_gradient(sized(grad_, buffers_.exp.sizes(), buffers_.exp), target_, buffers_);
    return grad_;
  }

 private:
  ops::CrossEntropyBuffers buffers_;
  Tensor target_, grad_;
};

}  // namespace twingrad::nn
