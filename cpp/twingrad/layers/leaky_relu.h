#pragma once

#include "twingrad/layers/activation.h"

namespace twingrad::nn {

/// Leaky rectified linear unit, as torch::nn::LeakyReLU.
///
///   f(x)  = max(x, s·x)                    with a slope 0 ≤ s ≤ 1, by default 0.01
///   f′(x) = max([x > 0], s)
///
/// At the kink x = 0 the slope is s, as in LibTorch.
/// Source: Maas, Hannun, Ng, Rectifier nonlinearities improve neural network acoustic models (2013).
class LeakyReLU final : public Activation {
 public:
  explicit LeakyReLU(double slope = 0.01) : slope_(slope) {}

 protected:
  void value(Tensor& y, const Tensor& x) const override {
    y.copy_(x).mul_(slope_);
    at::maximum_out(y, y, x);
  }

  void derivative(Tensor& dy_dx, const Tensor& x, const Tensor& /*y*/) const override {
    at::gt_out(dy_dx, x, 0).clamp_min_(slope_);
  }

 private:
  double slope_;
};

}  // namespace twingrad::nn
