#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty_like.h>

namespace twingrad::ops {

/// The sum of one or more tensors of equal shape, added in order. A single tensor is returned itself;
/// otherwise the sum is written to `buffer`, which is allocated if it is undefined.
inline const at::Tensor& sum_of_parts(at::TensorList parts, at::Tensor& buffer) {
  if (parts.size() == 1) {
    return parts[0];
  }
  if (!buffer.defined()) {
    buffer = at::empty_like(parts[0]);
  }
  at::add_out(buffer, parts[0], parts[1]);
  for (const at::Tensor& part : parts.slice(2)) {
    buffer.add_(part);
  }
  return buffer;
}

}  // namespace twingrad::ops
