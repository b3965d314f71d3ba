#pragma once

#include "twingrad/layers/layer.h"

namespace twingrad {

/// A function applied to each entry alone. Its Jacobian is diagonal, so backward is one product:
///
///   y      = f(x)
///   ∂L/∂x  = ∂L/∂y · f′(x)
///
/// A subclass writes f and f′, nothing else. x, y of any equal shape.
class Activation : public Layer {
 public:
  const Tensor& forward(const Tensor& x) final {
    x_ = x;
    value(sized(y_, x.sizes(), x), x);
    return y_;
  }

  const Tensor& backward(const Tensor& grad_y) final {
    sized(grad_x_, x_.sizes(), x_);
    if (!backward_in_one_pass(grad_x_, grad_y, y_)) {
      derivative(grad_x_, x_, y_);
      grad_x_.mul_(grad_y);
    }
    return grad_x_;
  }

 protected:
  /// y = f(x)
  virtual void value(Tensor& y, const Tensor& x) const = 0;
  /// dy_dx = f′(x). A formula may use x, or y = f(x) where that is shorter.
  virtual void derivative(Tensor& dy_dx, const Tensor& x, const Tensor& y) const = 0;
  /// The whole backward in one loop over memory, for an f′ that is known from y. Returns false, having done nothing, unless
  /// the subclass has such a loop for these tensors.
  virtual bool backward_in_one_pass(Tensor& /*grad_x*/, const Tensor& /*grad_y*/, const Tensor& /*y*/) const {
    return false;
  }

 private:
  Tensor x_, y_, grad_x_;
};

}  // namespace twingrad
