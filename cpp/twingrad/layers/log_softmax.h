#pragma once

#include "twingrad/layers/layer.h"

namespace twingrad::nn {

/// Logarithm of the softmax of each row, as torch::nn::LogSoftmax(1).
///
///   y_j       = x_j − m − log Σ_k exp(x_k − m),    m = max_k x_k
///   ∂y_j/∂x_k = [j = k] − p_k,                     p = exp(y), the softmax
///   ∂L/∂x     = ∂L/∂y − p Σ_j ∂L/∂y_j
///
/// No quotient is formed, so the logarithm of 0 is never taken: logits of ±1e4 are exact, and −∞ gives −∞.
/// x, y [N, C].
/// Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 6.2.2.3.
class LogSoftmax final : public Layer {
 public:
  Tensor forward(const Tensor& x) override {
    at::sub_out(sized(y_, x.sizes(), x), x, at::amax(x, 1, /*keepdim=*/true));
    at::exp_out(sized(exp_, x.sizes(), x), y_);
    return y_.sub_(exp_.sum(1, /*keepdim=*/true).log_());
  }

  Tensor backward(const Tensor& grad_y) override {
    at::exp_out(sized(grad_x_, y_.sizes(), y_), y_).mul_(grad_y.sum(1, /*keepdim=*/true));
    return at::sub_out(grad_x_, grad_y, grad_x_);
  }

 private:
  Tensor exp_, y_, grad_x_;
};

}  // namespace twingrad::nn
