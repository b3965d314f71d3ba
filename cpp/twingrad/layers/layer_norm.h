#pragma once

#include <utility>

#include "twingrad/layers/layer.h"
#include "twingrad/layers/scale_and_shift.h"

namespace twingrad::nn {

/// Layer normalization, as torch::nn::LayerNorm({D}). Over the columns d of a row:
///
///   μ      = mean_d x,   σ² = mean_d (x − μ)²
///   x̂      = (x − μ) / √(σ² + ε)
///   y      = γ ∘ x̂ + β                              ScaleAndShift, which gives h = ∂L/∂x̂ = ∂L/∂y ∘ γ
///   ∂L/∂x  = (h − mean_d h − x̂ mean_d(h x̂)) / √(σ² + ε)
///
/// The two means in ∂L/∂x are the terms through μ and through σ². Rows are independent, so there are no
/// running statistics, and a batch of one row is valid.
///
/// x, y [N, D], γ, β [D]. γ and β may be omitted ({}), as with elementwise_affine = false.
/// Source: Ba, Kiros, Hinton, Layer normalization (2016).
class LayerNorm final : public Layer {
 public:
  LayerNorm(Parameter weight, Parameter bias, double eps = 1e-5)
      : scale_and_shift_(std::move(weight), std::move(bias)), eps_(eps) {}

  Tensor forward(const Tensor& x) override {
    at::sub_out(sized(normalized_, x.sizes(), x), x, x.mean(1, /*keepdim=*/true));
    inverse_deviation_ = normalized_.square().mean(1, /*keepdim=*/true).add_(eps_).rsqrt_();
    return scale_and_shift_.forward(normalized_.mul_(inverse_deviation_));
  }

  Tensor backward(const Tensor& grad_y) override {
    const Tensor h = scale_and_shift_.backward(grad_y);
    sized(grad_x_, h.sizes(), h);
    const Tensor mean_of_h_x = at::mul_out(grad_x_, h, normalized_).mean(1, /*keepdim=*/true);
    at::mul_out(grad_x_, normalized_, mean_of_h_x).add_(h.mean(1, /*keepdim=*/true));
    return at::sub_out(grad_x_, h, grad_x_).mul_(inverse_deviation_);
  }

 private:
  ScaleAndShift scale_and_shift_;
  double eps_;
  Tensor normalized_, inverse_deviation_, grad_x_;
};

}  // namespace twingrad::nn
