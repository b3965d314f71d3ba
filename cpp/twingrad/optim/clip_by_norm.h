#pragma once

#include <ATen/ATen.h>
#include <c10/util/StringUtil.h>

#include <cmath>
#include <stdexcept>

namespace twingrad::optim {

/// Clips the norm of a gradient and keeps its direction, as torch::nn::utils::clip_grad_norm_ does with the
/// gradients of all parameters taken as one vector.
///
///   |g| = (Σ_i |g_i|ᵖ)^(1/p)               p = norm_type, 2 by default; ∞: max_i |g_i|
///   g   ← g · min(1, max_norm / (|g| + 1e-6))
///
/// A norm above max_norm becomes max_norm · |g| / (|g| + 1e-6). An infinite norm makes finite entries
/// 0 and infinite ones NaN; a NaN makes all entries NaN. gradients [P], changed in place. Returns the norm
/// before clipping.
/// Throws std::invalid_argument unless norm_type > 0 (LibTorch also accepts 0, which counts tensors)
/// and max_norm ≥ 0.
///
/// Source: Pascanu, Mikolov, Bengio, On the difficulty of training recurrent neural networks (2013),
/// algorithm 1.
inline double clip_by_norm(at::Tensor& gradients, double max_norm, double norm_type = 2);

/// The same without waiting for a GPU: returns the norm as a tensor, 0-d.
inline at::Tensor enqueue_clip_by_norm(at::Tensor& gradients, double max_norm, double norm_type = 2) {
  if (!(norm_type > 0) || !(max_norm >= 0)) {
    throw std::invalid_argument(c10::str("clip_by_norm: expected norm_type > 0 and max_norm >= 0, found ",
                                         norm_type, " and ", max_norm));
  }
  if (gradients.numel() == 0) {
    return at::zeros({}, gradients.options());
  }
  const at::Tensor size = gradients.abs();
  const at::Tensor norm = std::isinf(norm_type) ? size.max() : size.pow_(norm_type).sum().pow_(1 / norm_type);
  gradients.mul_((max_norm / (norm + 1e-6)).clamp_max_(1));
  return norm;
}

inline double clip_by_norm(at::Tensor& gradients, double max_norm, double norm_type) {
  return enqueue_clip_by_norm(gradients, max_norm, norm_type).item<double>();
}

}  // namespace twingrad::optim
