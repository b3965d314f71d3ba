#pragma once

#include "twingrad/layers/activation.h"

namespace twingrad {

/// Rectified linear unit, as torch::nn::ReLU.
///
///   f(x)  = max(x, 0)
///   f′(x) = [x > 0] = sign(f(x))
///
/// At the kink x = 0 every slope in [0, 1] is a subgradient; like LibTorch we take 0.
/// Source: Nair, Hinton, Rectified linear units improve restricted Boltzmann machines (2010).
class ReLU final : public Activation {
 protected:
  void value(Tensor& y, const Tensor& x) const override { at::clamp_min_out(y, x, 0); }

  void derivative(Tensor& dy_dx, const Tensor& /*x*/, const Tensor& y) const override {
    at::sign_out(dy_dx, y);
  }

  /// On the CPU, where all three are contiguous (relu_one_pass.cpp).
  bool backward_in_one_pass(Tensor& grad_x, const Tensor& grad_y, const Tensor& y) const override;
};

}  // namespace twingrad
