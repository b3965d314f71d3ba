#pragma once

#include <limits>
#include <optional>
#include <utility>

#include "twingrad/layers/layer.h"
#include "twingrad/layers/scale_and_shift.h"

namespace twingrad::nn {

/// Root mean square normalization, as Python's torch.nn.RMSNorm(D). Over the columns d of a row:
///
///   r      = 1 / √(mean_d x² + ε)
///   x̂      = x r
///   y      = γ ∘ x̂                                  ScaleAndShift, which gives h = ∂L/∂x̂ = ∂L/∂y ∘ γ
///   ∂L/∂x  = r (h − x̂ mean_d(h x̂))
///
/// LayerNorm without μ and β. ε defaults to the machine epsilon of the dtype of x, 1.2e-7 or 2.2e-16, so
/// the slope at x = 0 is 1/√ε = 2,900 or 6.7e7.
///
/// x, y [N, D], γ [D]. γ may be omitted ({}), as with elementwise_affine = False.
/// Source: Zhang, Sennrich, Root mean square layer normalization (2019).
class RMSNorm final : public Layer {
 public:
  explicit RMSNorm(Parameter weight, std::optional<double> eps = std::nullopt)
      : scale_and_shift_(std::move(weight), {}), eps_(eps) {}

  Tensor forward(const Tensor& x) override {
    at::mul_out(sized(normalized_, x.sizes(), x), x, x);
    inverse_root_ = normalized_.mean(1, /*keepdim=*/true).add_(eps_for(x)).rsqrt_();
    return scale_and_shift_.forward(at::mul_out(normalized_, x, inverse_root_));
  }

  Tensor backward(const Tensor& grad_y) override {
    const Tensor h = scale_and_shift_.backward(grad_y);
    sized(grad_x_, h.sizes(), h);
    const Tensor mean_of_h_x = at::mul_out(grad_x_, h, normalized_).mean(1, /*keepdim=*/true);
    at::mul_out(grad_x_, normalized_, mean_of_h_x);
    return at::sub_out(grad_x_, h, grad_x_).mul_(inverse_root_);
  }

 private:
  double eps_for(const Tensor& x) const {
    return eps_.value_or(x.scalar_type() == at::kDouble ? std::numeric_limits<double>::epsilon()
                                                        : std::numeric_limits<float>::epsilon());
  }

  ScaleAndShift scale_and_shift_;
  std::optional<double> eps_;
  Tensor normalized_, inverse_root_, grad_x_;
};

}  // namespace twingrad::nn
