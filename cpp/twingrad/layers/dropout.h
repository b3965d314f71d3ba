#pragma once

#include <c10/util/StringUtil.h>

#include <stdexcept>

#include "twingrad/layers/layer.h"

namespace twingrad::nn {

/// Dropout, as torch::nn::Dropout, with a mask that the caller provides.
///
///   training     y = x ∘ s          ∂L/∂x = ∂L/∂y ∘ s          s = mask / (1 − p)
///   evaluation   y = x              ∂L/∂x = ∂L/∂y
///
/// The mask is 1 where an entry is kept, with probability 1 − p, and 0 where it is dropped; dividing by 1 −
/// p keeps the expectation of y equal to x. The trainer draws one mask for the whole batch, so that both
/// twins and all shards of a batch apply the same one. With p = 1 everything is dropped: y = 0.
///
/// x, y, mask [N, D]. In evaluation mode forward and backward return their argument, not a copy.
/// Source: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, Dropout (2014), with the factor
/// applied in training rather than in evaluation.
class Dropout final : public Layer {
 public:
  /// Throws std::invalid_argument unless 0 ≤ p ≤ 1.
  explicit Dropout(double p = 0.5) : p_(p) {
    if (!(p >= 0 && p <= 1)) {
      throw std::invalid_argument(c10::str("Dropout: p must be between 0 and 1, but is ", p));
    }
  }

  /// The mask of the next forward passes in training mode: bool, or 0 and 1 in any dtype.
  void set_mask(const Tensor& mask) { mask_ = mask; }

  /// Throws std::invalid_argument in training mode without a mask of the shape of x.
  Tensor forward(const Tensor& x) override {
    masked_ = training_;
    if (!masked_) {
      return x;
    }
    if (!mask_.defined() || mask_.sizes() != x.sizes()) {
      throw std::invalid_argument(c10::str("Dropout: training requires a mask of shape ", x.sizes(),
                                           " from set_mask, but ", mask_.defined() ? "has " : "has none",
                                           mask_.defined() ? c10::str(mask_.sizes()) : ""));
    }
    sized(scale_, x.sizes(), x).copy_(mask_).mul_(p_ < 1 ? 1 / (1 - p_) : 0);
    return at::mul_out(sized(y_, x.sizes(), x), x, scale_);
  }

  Tensor backward(const Tensor& grad_y) override {
    if (!masked_) {
      return grad_y;
    }
    return at::mul_out(sized(grad_x_, grad_y.sizes(), grad_y), grad_y, scale_);
  }

 private:
  double p_;
  bool masked_ = false;  ///< whether the last forward applied the mask
  Tensor mask_, scale_, y_, grad_x_;
};

}  // namespace twingrad::nn
