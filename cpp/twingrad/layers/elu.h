#pragma once

#include "twingrad/layers/activation.h"

namespace twingrad::nn {

/// Exponential linear unit, as torch::nn::ELU with alpha = 1.
///
///   f(x)  = x  if x > 0,  exp(x) − 1 otherwise     =  max(x, 0) + exp(min(x, 0)) − 1
///   f′(x) = 1  if x > 0,  exp(x) otherwise         =  exp(min(x, 0))
///
/// Source: Clevert, Unterthiner, Hochreiter, Fast and accurate deep network learning by ELUs (2016).
class ELU final : public Activation {
 protected:
  void value(Tensor& y, const Tensor& x) const override {
    at::clamp_max_out(y, x, 0).expm1_().add_(at::clamp_min(x, 0));
  }

  void derivative(Tensor& dy_dx, const Tensor& x, const Tensor& /*y*/) const override {
    at::clamp_max_out(dy_dx, x, 0).exp_();
  }
};

}  // namespace twingrad::nn
