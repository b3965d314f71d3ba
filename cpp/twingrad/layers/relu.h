#pragma once

#include "twingrad/layers/layer.h"
#include "twingrad/ops/fused_relu.h"

namespace twingrad::nn {

/// Rectified linear unit, as torch::nn::ReLU.
///
///   y      = max(x, 0)
///   ∂L/∂x  = ∂L/∂y · [x > 0]              [x > 0] = [y > 0]
///
/// At the kink x = 0 every slope in [0, 1] is a subgradient; this layer uses 0, as LibTorch does. x, y of any
/// equal shape. Source: Nair, Hinton, Rectified linear units improve restricted Boltzmann machines (2010).
class ReLU final : public Layer {
 public:
  Tensor forward(const Tensor& x) override { return at::clamp_min_out(sized(y_, x.sizes(), x), x, 0); }

  Tensor backward(const Tensor& grad_y) override {
    return ops::fused_relu_gradient(sized(grad_x_, y_.sizes(), y_), grad_y, y_);
  }

 private:
  Tensor y_, grad_x_;
};

}  // namespace twingrad::nn
