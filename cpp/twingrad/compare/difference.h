#pragma once

#include <ATen/ATen.h>

namespace twingrad {

/// How far two tensors lie apart: the expected one, a, and the one that is judged, m.
///
///   absolute = max|a − m|,   relative = max|a − m| / max|a|
///
/// 0/0 is 0. What cannot agree is infinite: x/0, a NaN or an infinity in either, another shape, a missing
/// tensor.
struct Difference {
  double absolute = 0;
  double relative = 0;
};

/// Any shapes, floating dtypes and devices; computed in float64.
Difference difference(const at::Tensor& expected, const at::Tensor& actual);

/// absolute / scale as a Difference has it: 0/0 is 0; x/0, NaN and infinities are infinite.
double relative_to(double absolute, double scale);

}  // namespace twingrad
