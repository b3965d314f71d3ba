#pragma once

#include "twingrad/layers/layer.h"

namespace twingrad::nn {

/// Natural logarithm, kept finite at 0 by an epsilon (classroom exercise).
///
///   y      = log(x + ε)
///   ∂L/∂x  = ∂L/∂y / (x + ε)
///
/// x, y [N, D], x ≥ 0. Without the epsilon log(0) is −∞. With it, log(0 + 1e-12) = −27.6.
class Log final : public Layer {
 public:
  explicit Log(double epsilon) : epsilon_(epsilon) {}

  Tensor forward(const Tensor& x) override {
    sized(shifted_, x.sizes(), x).copy_(x).add_(epsilon_);
    return at::log_out(sized(y_, x.sizes(), x), shifted_);
  }

  Tensor backward(const Tensor& grad_y) override {
    return at::div_out(sized(grad_x_, grad_y.sizes(), grad_y), grad_y, shifted_);
  }

 private:
  double epsilon_;
  Tensor shifted_, y_, grad_x_;
};

}  // namespace twingrad::nn
