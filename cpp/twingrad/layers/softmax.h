#pragma once

#include "twingrad/layers/layer.h"

namespace twingrad {

/// Softmax of each row, shifted by the row's maximum so that no exponential overflows.
///
///   y_j       = exp(x_j − m) / Σ_k exp(x_k − m),    m = max_k x_k
///   ∂y_j/∂x_k = y_j ([j = k] − y_k)
///   ∂L/∂x     = y ∘ (∂L/∂y − Σ_k ∂L/∂y_k y_k)
///
/// The shift cancels in the quotient, so the derivative does not see it. x, y [N, C].
/// Source: Goodfellow, Bengio, Courville, Deep Learning (2016), sections 4.1 and 6.2.2.3.
class Softmax : public Layer {
 public:
  const Tensor& forward(const Tensor& x) override {
    at::sub_out(sized(y_, x.sizes(), x), x, at::amax(x, 1, /*keepdim=*/true)).exp_();
    return y_.div_(y_.sum(1, /*keepdim=*/true));
  }

  const Tensor& backward(const Tensor& grad_y) override {
    at::mul_out(sized(grad_x_, y_.sizes(), y_), grad_y, y_);
    const Tensor weighted_sum = grad_x_.sum(1, /*keepdim=*/true);
    return at::sub_out(grad_x_, grad_y, weighted_sum).mul_(y_);
  }

 protected:
  Tensor y_, grad_x_;
};

/// Softmax as the classroom exercise writes it: no shift, and an epsilon in the denominator.
///
///   y_j = exp(x_j) / (Σ_k exp(x_k) + ε)
///
/// The derivative is that of Softmax, to the letter: with s = Σ_k exp(x_k) + ε still ∂s/∂x_k = exp(x_k).
/// It overflows: exp(x) is infinite from x = 89 on in float32, from x = 710 in float64, and y = ∞/∞ is NaN.
class UnshiftedSoftmax final : public Softmax {
 public:
  explicit UnshiftedSoftmax(double epsilon) : epsilon_(epsilon) {}

  const Tensor& forward(const Tensor& x) override {
    at::exp_out(sized(y_, x.sizes(), x), x);
    return y_.div_(y_.sum(1, /*keepdim=*/true).add_(epsilon_));
  }

 private:
  double epsilon_;
};

}  // namespace twingrad
