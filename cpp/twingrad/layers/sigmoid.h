#pragma once

#include "twingrad/layers/activation.h"

namespace twingrad::nn {

/// Logistic function, as torch::nn::Sigmoid.
///
///   f(x)  = 1 / (1 + exp(−x))
///   f′(x) = y (1 − y)                      with y = f(x)
class Sigmoid final : public Activation {
 protected:
  void value(Tensor& y, const Tensor& x) const override { at::sigmoid_out(y, x); }

  void derivative(Tensor& dy_dx, const Tensor& /*x*/, const Tensor& y) const override {
    at::mul_out(dy_dx, y, (1 - y));
  }
};

}  // namespace twingrad::nn
