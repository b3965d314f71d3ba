#pragma once

#include <c10/util/StringUtil.h>

#include <stdexcept>

#include "twingrad/layers/layer.h"

namespace twingrad {

/// How the losses ℓ of a batch become L: their mean, their sum, or not at all.
enum class Reduction { mean, sum, none };

/// A loss with its derivative written by hand.
///
///   forward    L = mean of ℓ,  sum of ℓ,  or ℓ itself
///   backward   ∂J/∂input = ∂J/∂L · ∂L/∂ℓ · ∂ℓ/∂input        ∂L/∂ℓ = 1/count, 1 or 1
///
/// J is what L ends up in; where L is the end, ∂J/∂L = 1. A subclass writes ℓ and ∂ℓ/∂input, nothing else.
/// There is one ℓ a row, ℓ [N], or one an entry, ℓ [N, C], as the loss says.
///
/// input [N, C], any floating dtype, any device; target as the loss says. The mean over nothing is NaN.
class Loss {
 public:
  explicit Loss(Reduction reduction = Reduction::mean) : reduction_(reduction) {}
  Loss(const Loss&) = delete;
  Loss& operator=(const Loss&) = delete;
  virtual ~Loss() = default;

  /// Returns L: a tensor without dimensions, or ℓ with Reduction::none. It holds until the next call.
  const Tensor& forward(const Tensor& input, const Tensor& target) {
    loss_ = value(input, target);
    if (reduction_ == Reduction::none) {
      return loss_;
    }
    count_ = count(loss_);
    at::sum_out(sized(sum_, {}, loss_), loss_, at::IntArrayRef());
    loss_ = sum_;
    return reduction_ == Reduction::mean ? loss_.div_(count_) : loss_;
  }

  /// Returns ∂J/∂input of the last forward, [N, C]. It holds until the next call. grad_loss is ∂J/∂L, of the
  /// shape of L; left out, it is 1.
  const Tensor& backward(const Tensor& grad_loss = {}) {
    Tensor& grad = derivative();
    const Tensor grad_losses = weigh(grad_loss.defined() ? grad_loss : sized(one_, {}, grad).fill_(1));
    const bool one_a_row = grad_losses.dim() > 0 && grad_losses.dim() < grad.dim();
    return grad.mul_(one_a_row ? grad_losses.unsqueeze(-1) : grad_losses);
  }

 protected:
  /// ℓ, which the loss may keep in a buffer of its own
  virtual Tensor value(const Tensor& input, const Tensor& target) = 0;
  /// ∂ℓ/∂input of the last value, in a buffer of the loss: row n by ℓ[n], or each entry by its own.
  virtual Tensor& derivative() = 0;
  /// What the mean divides the sum by.
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
  Tensor loss_, sum_, count_, one_, weight_;
};

/// Throws std::invalid_argument unless the target has the shape of the input.
inline void require_equal_shapes(const char* loss, const Tensor& input, const Tensor& target) {
  if (input.sizes() != target.sizes()) {
    throw std::invalid_argument(c10::str(loss, ": the target has to have the shape of the input, ",
                                         input.sizes(), ", but has ", target.sizes()));
  }
}

}  // namespace twingrad
