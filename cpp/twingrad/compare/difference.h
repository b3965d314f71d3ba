#pragma once

#include <ATen/ATen.h>

namespace twingrad {

/// The difference between an expected tensor a and an actual tensor m.
///
///   absolute = max|a − m|,   relative = max|a − m| / max|a|
///
/// 0/0 is 0 and x/0 is infinite. Both numbers are infinite if a tensor is undefined or contains a NaN or an
/// infinity, and if the shapes differ.
struct Difference {
  double absolute = 0;
  double relative = 0;
};

/// Any shapes, floating dtypes and devices; computed in float64.
Difference difference(const at::Tensor& expected, const at::Tensor& actual);

/// absolute / scale, where 0/0 is 0 and x/0 is infinite, as is the result for a NaN or an infinity.
double relative_to(double absolute, double scale);

}  // namespace twingrad
