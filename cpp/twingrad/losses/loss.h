#pragma once

#include <c10/util/StringUtil.h>

#include <stdexcept>

#include "twingrad/layers/layer.h"

namespace twingrad::nn {

/// How the losses ℓ of a batch are reduced to L: mean, sum, or not at all.
enum class Reduction { mean, sum, none };

/// A loss with a hand-written derivative.
///
///   forward    L = mean of ℓ,  sum of ℓ,  or ℓ itself
///   backward   ∂J/∂input = ∂J/∂L · ∂L/∂ℓ · ∂ℓ/∂input        ∂L/∂ℓ = 1/count, 1 or 1
///
/// J is a later function of L, such as a weighted sum; if L is the final result, ∂J/∂L = 1. A subclass
/// implements ℓ and ∂ℓ/∂input. Depending on the loss there is one ℓ per row, ℓ [N], or one per entry, ℓ [N,
/// C].
///
/// input [N, C], any floating dtype, any device; target: see each loss. The mean of an empty batch is NaN.
class Loss {
 public:
  explicit Loss(Reduction reduction = Reduction::mean) : reduction_(reduction) {}
  Loss(const Loss&) = delete;
  Loss& operator=(const Loss&) = delete;
  virtual ~Loss() = default;

  /// Returns L: a 0-d tensor, or ℓ with Reduction::none. It is valid until the next call.
  Tensor forward(const Tensor& input, const Tensor& target) {
    Tensor losses = value(input, target);
    if (reduction_ == Reduction::none) {
      return losses;
    }
    count_ = count(losses);
    at::sum_out(sized(loss_, {}, losses), losses, at::IntArrayRef());
    return reduction_ == Reduction::mean ? loss_.div_(count_) : loss_;
  }

  /// Returns ∂J/∂input for the last forward, [N, C]. It is valid until the next call. grad_loss is ∂J/∂L,
  /// of the shape of L; 1 if it is omitted.
  Tensor backward(const Tensor& grad_loss = {}) {
    Tensor grad = derivative();
    const Tensor grad_losses = weigh(grad_loss.defined() ? grad_loss : sized(one_, {}, grad).fill_(1));
    const bool one_per_row = grad_losses.dim() > 0 && grad_losses.dim() < grad.dim();
    return grad.mul_(one_per_row ? grad_losses.unsqueeze(-1) : grad_losses);
  }

 protected:
  /// ℓ, which may be a buffer of the loss.
  virtual Tensor value(const Tensor& input, const Tensor& target) = 0;
  /// ∂ℓ/∂input of the last value, in a buffer of the loss. If there is one ℓ per row, row n is ∂ℓ[n]/∂input.
  virtual Tensor derivative() = 0;
  /// The divisor of the mean.
  virtual Tensor count(const Tensor& losses) {
    return sized(count_, {}, losses).fill_(static_cast<double>(losses.numel()));
  }
  /// ∂J/∂ℓ = ∂J/∂L · ∂L/∂ℓ
  virtual Tensor weigh(const Tensor& grad_loss) {
    return reduction_ == Reduction::mean ? at::div_out(sized(weight_, {}, grad_loss), grad_loss, count_)
                                         : grad_loss;
  }

  Reduction reduction_;

 private:
  Tensor loss_, count_, one_, weight_;
};

/// Throws std::invalid_argument unless the target has the shape of the input.
inline void require_equal_shapes(const char* loss, const Tensor& input, const Tensor& target) {
  if (input.sizes() != target.sizes()) {
    throw std::invalid_argument(c10::str(loss, ": the target must have the shape of the input, ",
                                         input.sizes(), ", but has shape ", target.sizes()));
  }
}

}  // namespace twingrad::nn
