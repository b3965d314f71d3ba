#pragma once

#include "twingrad/layers/layer.h"

namespace twingrad {

/// How the losses of the N samples of a batch become one number.
enum class Reduction { mean, sum };

/// A loss with its derivative written by hand.
///
///   forward    L = reduction over n of ℓ(input[n], target[n])
///   backward   ∂L/∂input
///
/// input [N, C], any floating dtype, any device; target as the loss says.
class Loss {
 public:
  explicit Loss(Reduction reduction) : reduction_(reduction) {}
  Loss(const Loss&) = delete;
  Loss& operator=(const Loss&) = delete;
  virtual ~Loss() = default;

  /// Returns L, a tensor without dimensions.
  virtual Tensor forward(const Tensor& input, const Tensor& target) = 0;

  /// Returns ∂L/∂input of the last forward, [N, C]. It holds until the next call.
  virtual const Tensor& backward() = 0;

 protected:
  Tensor reduce(const Tensor& losses_of_rows) const {
    return reduction_ == Reduction::mean ? losses_of_rows.mean() : losses_of_rows.sum();
  }
  /// What one row's loss weighs in L: 1/N or 1.
  double weight_of_a_row(const Tensor& input) const {
    return reduction_ == Reduction::mean ? 1.0 / static_cast<double>(input.size(0)) : 1.0;
  }

  Reduction reduction_;
};

}  // namespace twingrad
