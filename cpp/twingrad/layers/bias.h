#pragma once

#include <utility>

#include "twingrad/layers/layer.h"

namespace twingrad::nn {

/// Adds a bias to every row: the second half of Linear as a separate layer.
///
///   y      = x + b                 y[n,d] = x[n,d] + b[d]
///   ∂L/∂b  = Σ_n ∂L/∂y[n,:]        b is added to every row
///   ∂L/∂x  = ∂L/∂y
///
/// x, y [N, D], b [D]. backward returns grad_y itself, not a copy.
/// Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 6.5.6.
class AddBias final : public Layer {
 public:
  explicit AddBias(Parameter bias) : bias_(std::move(bias)) {}

  Tensor forward(const Tensor& x) override { return at::add_out(sized(y_, x.sizes(), x), x, bias_.value); }

  Tensor backward(const Tensor& grad_y) override {
    at::sum_out(bias_.grad, grad_y, 0);
    return grad_y;
  }

 private:
  Parameter bias_;
  Tensor y_;
};

}  // namespace twingrad::nn
