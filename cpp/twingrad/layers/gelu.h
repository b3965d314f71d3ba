#pragma once

#include <cmath>

#include "twingrad/layers/activation.h"

namespace twingrad::nn {

/// Gaussian error linear unit, as torch::nn::GELU.
///
///   f(x)  = x Φ(x)                         Φ(x) = (1 + erf(x / √2)) / 2, the normal distribution function
///   f′(x) = Φ(x) + x φ(x)                  φ(x) = exp(−x² / 2) / √(2π), its density
///
/// Source: Hendrycks, Gimpel, Gaussian error linear units (2016).
class GELU final : public Activation {
 protected:
  void value(Tensor& y, const Tensor& x) const override { at::mul_out(y, x, distribution(x)); }

  void derivative(Tensor& dy_dx, const Tensor& x, const Tensor& /*y*/) const override {
    const Tensor density = x.square().mul_(-0.5).exp_().mul_(0.5 * M_2_SQRTPI * M_SQRT1_2);
    at::mul_out(dy_dx, x, density).add_(distribution(x));
  }

 private:
  static Tensor distribution(const Tensor& x) { return x.mul(M_SQRT1_2).erf_().add_(1).mul_(0.5); }
};

}  // namespace twingrad::nn
