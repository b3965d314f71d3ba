#pragma once

#include "twingrad/layers/activation.h"

namespace twingrad::nn {

/// Hyperbolic tangent, as torch::nn::Tanh.
///
///   f(x)  = tanh(x)
///   f′(x) = 1 − y²                         with y = f(x)
class Tanh final : public Activation {
 protected:
  void value(Tensor& y, const Tensor& x) const override { at::tanh_out(y, x); }

  void derivative(Tensor& dy_dx, const Tensor& /*x*/, const Tensor& y) const override {
    at::mul_out(dy_dx, y, y).neg_().add_(1);
  }
};

}  // namespace twingrad::nn
