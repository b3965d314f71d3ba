#pragma once

#include "twingrad/layers/activation.h"

namespace twingrad::nn {

/// Sigmoid linear unit, also called swish, as torch::nn::SiLU.
///
///   f(x)  = x σ(x)                         σ(x) = 1 / (1 + exp(−x))
///   f′(x) = σ(x) (1 + x (1 − σ(x)))
///
/// Source: Elfwing, Uchibe, Doya, Sigmoid-weighted linear units (2018).
class SiLU final : public Activation {
 protected:
  void value(Tensor& y, const Tensor& x) const override { at::sigmoid_out(y, x).mul_(x); }

  void derivative(Tensor& dy_dx, const Tensor& x, const Tensor& /*y*/) const override {
    const Tensor sigmoid = at::sigmoid(x);
    at::mul_out(dy_dx, x, (1 - sigmoid)).add_(1).mul_(sigmoid);
  }
};

}  // namespace twingrad::nn
