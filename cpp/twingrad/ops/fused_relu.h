#pragma once

#include <ATen/core/Tensor.h>

namespace twingrad::ops {

/// grad_x = grad_y · [y > 0], where y is the result of a ReLU.
///
/// All three have equal shapes; grad_x is overwritten. In one pass over memory for contiguous float32 and
/// float64 tensors on the CPU, by tensor operations otherwise. Both give the same bits.
at::Tensor& fused_relu_gradient(at::Tensor& grad_x, const at::Tensor& grad_y, const at::Tensor& y);

/// The tensor version: any dtype, layout and device.
at::Tensor& relu_gradient(at::Tensor& grad_x, const at::Tensor& grad_y, const at::Tensor& y);

}  // namespace twingrad::ops
