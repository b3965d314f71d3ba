#pragma once

#include <ATen/core/Tensor.h>

namespace twingrad::ops {

/// grad_x = grad_y · [y > 0], where y is the result of a ReLU.
///
/// All three have equal shapes; grad_x is overwritten. Contiguous float32 and float64 tensors on the CPU are
/// processed in one pass over memory, all others by tensor operations. The results are bit-identical.
at::Tensor& fused_relu_gradient(at::Tensor& grad_x, const at::Tensor& grad_y, const at::Tensor& y);

/// The tensor version: any dtype, layout and device.
at::Tensor& relu_gradient(at::Tensor& grad_x, const at::Tensor& grad_y, const at::Tensor& y);

}  // namespace twingrad::ops
