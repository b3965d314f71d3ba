#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace twingrad::testing {

/// Equal values, dtypes, shapes and signs of zero; NaN equals NaN. Two undefined tensors are equal.
inline ::testing::AssertionResult same_bits(const at::Tensor& expected, const at::Tensor& actual) {
  if (expected.defined() != actual.defined()) {
    return ::testing::AssertionFailure() << "one of the tensors is undefined";
  }
  if (!expected.defined()) {
    return ::testing::AssertionSuccess();
  }
  const bool same =
      expected.scalar_type() == actual.scalar_type() && expected.sizes() == actual.sizes() &&
      actual.allclose(expected, 0, 0, /*equal_nan=*/true) &&
      (!expected.is_floating_point() || actual.nan_to_num().signbit().equal(expected.nan_to_num().signbit()));
  return same ? ::testing::AssertionSuccess()
              : ::testing::AssertionFailure() << "expected\n"
                                              << expected << "\nfound\n"
                                              << actual;
}

/// Equal values, where 0 equals −0 and NaN equals NaN.
inline bool same_values(const at::Tensor& expected, const at::Tensor& actual) {
  return expected.defined() == actual.defined() &&
         (!expected.defined() || actual.allclose(expected, 0, 0, /*equal_nan=*/true));
}

/// A power of two, which multiplies without rounding, and negative. A backward pass is linear: an upstream
/// gradient times this number gives each gradient times this number, to the last bit.
constexpr double kExactFactor = -0x1p20;

}  // namespace twingrad::testing
