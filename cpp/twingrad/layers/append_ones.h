#pragma once

#include "twingrad/layers/layer.h"

namespace twingrad::nn {

/// Appends a column of ones, so that the last row of the next weight matrix acts as a bias (classroom
/// exercise).
///
///   y      = [x, 1]
///   ∂L/∂x  = ∂L/∂y without its last column: the ones are constant
///
/// x [N, D], y [N, D + 1].
class AppendOnes final : public Layer {
 public:
  Tensor forward(const Tensor& x) override {
    sized(y_, {x.size(0), x.size(1) + 1}, x);
    y_.narrow(1, 0, x.size(1)).copy_(x);
    y_.select(1, x.size(1)).fill_(1);
    return y_;
  }

  Tensor backward(const Tensor& grad_y) override {
    const auto columns = grad_y.size(1) - 1;
    return sized(grad_x_, {grad_y.size(0), columns}, grad_y).copy_(grad_y.narrow(1, 0, columns));
  }

 private:
  Tensor y_, grad_x_;
};

}  // namespace twingrad::nn
