#pragma once

#include "twingrad/losses/loss.h"

namespace twingrad::nn {

/// A loss of the difference between input and target, entry by entry.
///
///   ℓ          = f(d),    d = input − target
///   ∂ℓ/∂input  = f′(d)
///
/// A subclass implements f and f′. input, target, ℓ [N, C], or any equal shape; the mean divides by N·C.
class DifferenceLoss : public Loss {
 public:
  using Loss::Loss;

 protected:
  /// f(d)
  virtual Tensor value_of(const Tensor& d) const = 0;
  /// slope = f′(d)
  virtual void slope_of(Tensor& slope, const Tensor& d) const = 0;

 private:
  /// Throws std::invalid_argument unless the shapes are equal.
  Tensor value(const Tensor& input, const Tensor& target) final {
    require_equal_shapes("DifferenceLoss", input, target);
    return value_of(at::sub_out(sized(d_, input.sizes(), input), input, target));
  }

  Tensor derivative() final {
    slope_of(sized(slope_, d_.sizes(), d_), d_);
    return slope_;
  }

  Tensor d_, slope_;
};

}  // namespace twingrad::nn
