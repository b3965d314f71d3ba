#pragma once

#include <utility>

#include "twingrad/layers/layer.h"

namespace twingrad::nn {

/// The learnable second half of the normalization layers: a factor and an offset per column.
///
///   y      = γ ∘ x + β             y[n,d] = γ[d] x[n,d] + β[d]
///   ∂L/∂γ  = Σ_n ∂L/∂y ∘ x
///   ∂L/∂β  = Σ_n ∂L/∂y
///   ∂L/∂x  = ∂L/∂y ∘ γ
///
/// x, y [N, D], γ, β [D]. Either parameter may be omitted ({}): then γ is 1, β is 0. Without γ, forward and
/// backward may return their argument, not a copy.
class ScaleAndShift final : public Layer {
 public:
  ScaleAndShift(Parameter scale, Parameter shift) : scale_(std::move(scale)), shift_(std::move(shift)) {}

  Tensor forward(const Tensor& x) override {
    x_ = x;
    Tensor y = x;
    if (scale_.value.defined()) {
      y = at::mul_out(sized(y_, x.sizes(), x), y, scale_.value);
    }
    if (shift_.value.defined()) {
      y = at::add_out(sized(y_, x.sizes(), x), y, shift_.value);
    }
    return y;
  }

  Tensor backward(const Tensor& grad_y) override {
    if (shift_.value.defined()) {
      at::sum_out(shift_.grad, grad_y, 0);
    }
    if (!scale_.value.defined()) {
      return grad_y;
    }
    at::mul_out(sized(grad_x_, grad_y.sizes(), grad_y), grad_y, x_);
    at::sum_out(scale_.grad, grad_x_, 0);
    return at::mul_out(grad_x_, grad_y, scale_.value);
  }

 private:
  Parameter scale_, shift_;
  Tensor x_, y_, grad_x_;
};

}  // namespace twingrad::nn
