#pragma once

#include <ATen/core/Tensor.h>

namespace twingrad::ops {

/// The results of the forward pass that the gradient needs. The caller allocates the three tensors:
/// contiguous, with the dtype and device of the logits.
struct CrossEntropyBuffers {
  at::Tensor losses;      ///< ℓ [N, 1]
  at::Tensor exp;         ///< exp(z − max_k z_k) [N, C]
  at::Tensor sum_of_exp;  ///< its sum over each row [N, 1]
};

/// ℓ = log Σ_k exp(z_k − m) − (z_t − m) with m = max_k z_k, for logits z [N, C] and class indices t [N],
/// int64.
///
/// Runs row by row for contiguous float32 and float64 logits on the CPU with a contiguous target of valid
/// classes. All other operands use tensor operations; an invalid class throws the error of LibTorch's gather.
void fused_cross_entropy(const at::Tensor& logits, const at::Tensor& target, CrossEntropyBuffers& buffers);

/// grad [N, C] = ∂ℓ/∂z = exp / sum_of_exp − [k = t], from the buffers of the forward pass.
void fused_cross_entropy_gradient(at::Tensor& grad, const at::Tensor& target,
                                  const CrossEntropyBuffers& buffers);

/// The tensor versions: any floating dtype, layout and device.
void cross_entropy(const at::Tensor& logits, const at::Tensor& target, CrossEntropyBuffers& buffers);
void cross_entropy_gradient(at::Tensor& grad, const at::Tensor& target, const CrossEntropyBuffers& buffers);

}  // namespace twingrad::ops
