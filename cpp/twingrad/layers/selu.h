#pragma once

#include "twingrad/layers/activation.h"

namespace twingrad::nn {

/// Scaled exponential linear unit, as torch::nn::SELU.
///
///   f(x)  = λ x  if x > 0,  λ α (exp(x) − 1) otherwise
///   f′(x) = λ    if x > 0,  λ α exp(x) otherwise
///
/// λ and α are the constants for which zero mean and unit variance are a fixed point. The slope jumps at x =
/// 0 from λα to λ; there we take λα, as LibTorch does. Source: Klambauer, Unterthiner, Mayr, Hochreiter,
/// Self-normalizing neural networks (2017).
class SELU final : public Activation {
 public:
  static constexpr double kScale = 1.0507009873554804934193349852946;
  static constexpr double kAlpha = 1.6732632423543772848170429916717;

 protected:
  void value(Tensor& y, const Tensor& x) const override {
    at::clamp_max_out(y, x, 0).expm1_().mul_(kAlpha).add_(at::clamp_min(x, 0)).mul_(kScale);
  }

  void derivative(Tensor& dy_dx, const Tensor& x, const Tensor& /*y*/) const override {
    at::clamp_max_out(dy_dx, x, 0).exp_().mul_(kAlpha);
    dy_dx.masked_fill_(x > 0, 1).mul_(kScale);
  }
};

}  // namespace twingrad::nn
