#pragma once

#include <cmath>

#include "twingrad/layers/activation.h"

namespace twingrad::nn {

/// The usual approximation of GELU by tanh, as torch::nn::GELU with approximate = "tanh".
///
///   f(x)  = x (1 + t) / 2                  t = tanh(u),  u = √(2/π) (x + 0.044715 x³)
///   f′(x) = (1 + t) / 2 + x (1 − t²) u′ / 2        u′ = √(2/π) (1 + 3 · 0.044715 x²)
///
/// Source: Hendrycks, Gimpel, Gaussian error linear units (2016).
class GELUTanh final : public Activation {
 protected:
  void value(Tensor& y, const Tensor& x) const override { at::mul_out(y, x, tanh_of_u(x).add_(1).mul_(0.5)); }

  void derivative(Tensor& dy_dx, const Tensor& x, const Tensor& /*y*/) const override {
    const Tensor t = tanh_of_u(x);
    const Tensor du_dx = x.square().mul_(3 * kCubic).add_(1).mul_(kRootTwoOverPi);
    at::mul_out(dy_dx, x, t.square().neg_().add_(1)).mul_(du_dx).add_(t).add_(1).mul_(0.5);
  }

 private:
  static constexpr double kCubic = 0.044715;
  static constexpr double kRootTwoOverPi = M_2_SQRTPI * M_SQRT1_2;

  static Tensor tanh_of_u(const Tensor& x) {
    return x.square().mul_(kCubic).add_(1).mul_(x).mul_(kRootTwoOverPi).tanh_();
  }
};

}  // namespace twingrad::nn
