#pragma once

#include <ATen/ATen.h>
#include <c10/util/StringUtil.h>

#include <cmath>
#include <stdexcept>

namespace twingrad {

/// What clip_by_norm does with a gradient whose norm is NaN or infinite.
enum class NonFiniteNorm {
  scale,   ///< scale by it all the same: ∞ makes finite entries 0 and infinite ones NaN, NaN makes all NaN
  refuse,  ///< throw std::runtime_error, the gradient as it was
};

/// Shortens a gradient that is longer than max_norm and keeps its direction, as
/// torch::nn::utils::clip_grad_norm_ does with all gradients of a network taken as one vector.
///
///   |g| = (Σ_i |g_i|ᵖ)^(1/p)               p = norm_type, 2 by default; ∞: max_i |g_i|
///   g   ← g · min(1, max_norm / (|g| + 1e-6))
///
/// So a gradient above max_norm ends 1e-6 / |g| below it. gradients [P], changed in place. Returns |g| from
/// before. Throws std::invalid_argument unless norm_type > 0 (LibTorch takes 0 too, and counts tensors with
/// it) and max_norm ≥ 0.
///
/// Source: Pascanu, Mikolov, Bengio, On the difficulty of training recurrent neural networks (2013),
/// algorithm 1.
inline double clip_by_norm(at::Tensor& gradients, double max_norm, double norm_type = 2,
                           NonFiniteNorm non_finite = NonFiniteNorm::scale) {
  if (!(norm_type > 0) || !(max_norm >= 0)) {
    throw std::invalid_argument(c10::str("clip_by_norm: wants norm_type > 0 and max_norm >= 0, but they are ",
                                         norm_type, " and ", max_norm));
  }
  if (gradients.numel() == 0) {
    return 0;
  }
  const at::Tensor size = gradients.abs();
  const at::Tensor norm = std::isinf(norm_type) ? size.max() : size.pow_(norm_type).sum().pow_(1 / norm_type);
  if (non_finite == NonFiniteNorm::refuse && !std::isfinite(norm.item<double>())) {
    throw std::runtime_error(c10::str("clip_by_norm: the norm of the gradient is ", norm.item<double>()));
  }
  gradients.mul_((max_norm / (norm + 1e-6)).clamp_max_(1));
  return norm.item<double>();
}

}  // namespace twingrad
