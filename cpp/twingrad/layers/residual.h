#pragma once

#include <c10/util/StringUtil.h>

#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "twingrad/layers/layer.h"

namespace twingrad {

/// Residual sum: a branch of layers f = f_K ∘ … ∘ f_1, and a path around it.
///
///   y      = x + f(x)
///   ∂L/∂x  = ∂L/∂y + (∂f/∂x)ᵀ ∂L/∂y        x goes two ways, so its two gradients add up
///
/// x, y [N, D]; f keeps the shape. It is a layer itself and stands in a list of layers like any other.
/// Source: He, Zhang, Ren, Sun, Deep residual learning for image recognition (2016), section 3.2.
class Residual final : public Layer {
 public:
  explicit Residual(std::vector<std::unique_ptr<Layer>> branch) : branch_(std::move(branch)) {}

  /// Throws std::invalid_argument if f changes the shape.
  const Tensor& forward(const Tensor& x) override {
    const Tensor* f = &x;
    for (const auto& layer : branch_) {
      f = &layer->forward(*f);
    }
    if (f->sizes() != x.sizes()) {
      throw std::invalid_argument(
          c10::str("Residual: the branch has to keep the shape ", x.sizes(), ", but gave ", f->sizes()));
    }
    return at::add_out(sized(y_, x.sizes(), x), x, *f);
  }

  const Tensor& backward(const Tensor& grad_y) override {
    const Tensor* grad = &grad_y;
    for (auto layer = branch_.rbegin(); layer != branch_.rend(); ++layer) {
      grad = &(*layer)->backward(*grad);
    }
    return at::add_out(sized(grad_x_, grad_y.sizes(), grad_y), grad_y, *grad);
  }

  void set_training(bool training) override {
    Layer::set_training(training);
    for (const auto& layer : branch_) {
      layer->set_training(training);
    }
  }

 private:
  std::vector<std::unique_ptr<Layer>> branch_;
  Tensor y_, grad_x_;
};

}  // namespace twingrad
