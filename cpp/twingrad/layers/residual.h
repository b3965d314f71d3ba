#pragma once

#include <c10/util/StringUtil.h>

#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "twingrad/layers/layer.h"

namespace twingrad::nn {

/// Residual connection around a branch of layers f = f_K ∘ … ∘ f_1.
///
///   y      = x + f(x)
///   ∂L/∂x  = ∂L/∂y + (∂f/∂x)ᵀ ∂L/∂y        x contributes twice, so its two gradients add up
///
/// x, y [N, D]; f must preserve the shape.
/// Source: He, Zhang, Ren, Sun, Deep residual learning for image recognition (2016), section 3.2.
class Residual final : public Layer {
 public:
  explicit Residual(std::vector<std::unique_ptr<Layer>> branch) : branch_(std::move(branch)) {}

  /// Throws std::invalid_argument if f changes the shape.
  Tensor forward(const Tensor& x) override {
    Tensor f = x;
    for (const auto& layer : branch_) {
      f = layer->forward(f);
    }
    if (f.sizes() != x.sizes()) {
      throw std::invalid_argument(
          c10::str("Residual: the branch must preserve the shape ", x.sizes(), ", but returned ", f.sizes()));
    }
    return at::add_out(sized(y_, x.sizes(), x), x, f);
  }

  Tensor backward(const Tensor& grad_y) override {
    Tensor grad = grad_y;
    for (auto layer = branch_.rbegin(); layer != branch_.rend(); ++layer) {
      grad = (*layer)->backward(grad);
    }
    return at::add_out(sized(grad_x_, grad_y.sizes(), grad_y), grad_y, grad);
  }

  void train(bool on = true) override {
    for (const auto& layer : branch_) {
      layer->train(on);
    }
  }

 private:
  std::vector<std::unique_ptr<Layer>> branch_;
  Tensor y_, grad_x_;
};

}  // namespace twingrad::nn
