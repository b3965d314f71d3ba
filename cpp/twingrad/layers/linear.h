#pragma once

#include <utility>

#include "twingrad/layers/layer.h"
#include "twingrad/ops/matmul.h"

namespace twingrad::nn {

/// Whether a layer computes ∂L/∂x. The first layer of a network does not need it, which saves a matrix
/// product.
enum class InputGradient { compute, skip };

/// Affine map, as torch::nn::Linear.
///
///   y      = x Wᵀ + b              y[n,o] = Σ_i x[n,i] W[o,i] + b[o]
///   ∂L/∂W  = (∂L/∂y)ᵀ x            W[o,i] multiplies x[n,i] in y[n,o], for every n
///   ∂L/∂b  = Σ_n ∂L/∂y[n,:]        b is added to every row
///   ∂L/∂x  = ∂L/∂y W
///
/// x [N, I], W [O, I], b [O], y [N, O]. b may be omitted ({}), as with bias = false: before a batch
/// normalization, which subtracts the mean, a bias has no effect and gradient 0.
/// Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 6.5.6.
class Linear final : public Layer {
 public:
  Linear(Parameter weight, Parameter bias, InputGradient input_gradient = InputGradient::compute)
      : weight_(std::move(weight)), bias_(std::move(bias)), input_gradient_(input_gradient) {}

  Tensor forward(const Tensor& x) override {
    x_ = x;
    sized(y_, {x.size(0), weight_.value.size(0)}, x);
    return bias_.value.defined() ? ops::addmm(y_, bias_.value, x, weight_.value.t())
                                 : ops::matmul(y_, x, weight_.value.t());
  }

  Tensor backward(const Tensor& grad_y) override {
    ops::matmul(weight_.grad, grad_y.t(), x_);
    if (bias_.value.defined()) {
      at::sum_out(bias_.grad, grad_y, 0);
    }
    if (input_gradient_ == InputGradient::compute) {
      ops::matmul(sized(grad_x_, x_.sizes(), x_), grad_y, weight_.value);
    }
    return grad_x_;
  }

 private:
  Parameter weight_, bias_;
  InputGradient input_gradient_;
  Tensor x_, y_, grad_x_;
};

}  // namespace twingrad::nn
