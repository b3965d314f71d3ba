#pragma once

#include "twingrad/layers/activation.h"

namespace twingrad::nn {

/// Identity clamped to [−1, 1], as torch::nn::Hardtanh.
///
///   f(x)  = min(max(x, −1), 1)
///   f′(x) = [−1 < x < 1]
///
/// At the two kinks the slope is 0, as in LibTorch.
class Hardtanh final : public Activation {
 protected:
  void value(Tensor& y, const Tensor& x) const override { at::clamp_out(y, x, -1, 1); }

  void derivative(Tensor& dy_dx, const Tensor& x, const Tensor& /*y*/) const override {
    at::lt_out(dy_dx, x.abs(), 1);
  }
};

}  // namespace twingrad::nn
