#pragma once

#include <utility>

#include "twingrad/layers/layer.h"
#include "twingrad/layers/linear.h"
#include "twingrad/ops/matmul.h"

namespace twingrad::nn {

/// Matrix product without a bias: the layer "Matmul" of the classroom exercise. W is stored as [inputs,
/// outputs].
///
///   y      = x W                   y[n,o] = Σ_i x[n,i] W[i,o]
///   ∂L/∂W  = xᵀ ∂L/∂y
///   ∂L/∂x  = ∂L/∂y Wᵀ
///
/// x [N, I], W [I, O], y [N, O].
class Matmul final : public Layer {
 public:
  explicit Matmul(Parameter weight, InputGradient input_gradient = InputGradient::compute)
      : weight_(std::move(weight)), input_gradient_(input_gradient) {}

  Tensor forward(const Tensor& x) override {
    x_ = x;
    return ops::matmul(sized(y_, {x.size(0), weight_.value.size(1)}, x), x, weight_.value);
  }

  Tensor backward(const Tensor& grad_y) override {
    ops::matmul(weight_.grad, x_.t(), grad_y);
    if (input_gradient_ == InputGradient::compute) {
      ops::matmul(sized(grad_x_, x_.sizes(), x_), grad_y, weight_.value.t());
    }
    return grad_x_;
  }

 private:
  Parameter weight_;
  InputGradient input_gradient_;
  Tensor x_, y_, grad_x_;
};

}  // namespace twingrad::nn
