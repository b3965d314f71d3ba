#pragma once

#include "twingrad/layers/layer.h"

namespace twingrad::nn {

/// Softmax of each row, shifted by the row's maximum so that no exponential overflows.
///
///   y_j       = exp(x_j − m) / Σ_k exp(x_k − m),    m = max_k x_k
///   ∂y_j/∂x_k = y_j ([j = k] − y_k)
///   ∂L/∂x     = y ∘ (∂L/∂y − Σ_k ∂L/∂y_k y_k)
///
/// The shift cancels in the quotient, so it does not appear in the derivative. x, y [N, C].
/// Source: Goodfellow, Bengio, Courville, Deep Learning (2016), sections 4.1 and 6.2.2.3.
class Softmax : public Layer {
 public:
  Tensor forward(const Tensor& x) override {
    at::sub_out(sized(y_, x.sizes(), x), x, at::amax(x, 1, /*keepdim=*/true)).exp_();
    return y_.div_(y_.sum(1, /*keepdim=*/true));
  }

  Tensor backward(const Tensor& grad_y) override {
    at::mul_out(sized(grad_x_, y_.sizes(), y_), grad_y, y_);
    const Tensor weighted_sum = grad_x_.sum(1, /*keepdim=*/true);
    return at::sub_out(grad_x_, grad_y, weighted_sum).mul_(y_);
  }

 protected:
  Tensor y_, grad_x_;
};

/// The softmax of the classroom exercise: no shift, and an epsilon in the denominator.
///
///   y_j = exp(x_j) / (Σ_k exp(x_k) + ε)
///
/// The derivative is the same as that of Softmax: with s = Σ_k exp(x_k) + ε, ∂s/∂x_k is still exp(x_k).
/// Without the shift exp overflows from x = 89 on in float32 and from x = 710 on in float64, and y = ∞/∞ is
/// NaN.
class UnshiftedSoftmax final : public Softmax {
 public:
  explicit UnshiftedSoftmax(double epsilon) : epsilon_(epsilon) {}

  Tensor forward(const Tensor& x) override {
    at::exp_out(sized(y_, x.sizes(), x), x);
    return y_.div_(y_.sum(1, /*keepdim=*/true).add_(epsilon_));
  }

 private:
  double epsilon_;
};

}  // namespace twingrad::nn
