#pragma once

#include "twingrad/layers/layer.h"

namespace twingrad::nn {

/// A function applied to each entry independently. Its Jacobian is diagonal, so backward is one product:
///
///   y      = f(x)
///   ∂L/∂x  = ∂L/∂y · f′(x)
///
/// A subclass implements f and f′. x, y of any equal shape.
class Activation : public Layer {
 public:
  Tensor forward(const Tensor& x) final {
    x_ = x;
    value(sized(y_, x.sizes(), x), x);
    return y_;
  }

  Tensor backward(const Tensor& grad_y) final {
    derivative(sized(grad_x_, x_.sizes(), x_), x_, y_);
    return grad_x_.mul_(grad_y);
  }

 protected:
  /// y = f(x)
  virtual void value(Tensor& y, const Tensor& x) const = 0;
  /// dy_dx = f′(x). A formula may use x, or y = f(x) where that is shorter.
  virtual void derivative(Tensor& dy_dx, const Tensor& x, const Tensor& y) const = 0;

 private:
  Tensor x_, y_, grad_x_;
};

}  // namespace twingrad::nn
