#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>
#include <vector>

/// Operands that a fused loop must leave to the tensor version.
namespace twingrad::ops {

using at::Tensor;

/// The same values in memory that is not contiguous.
inline Tensor strided_copy(const Tensor& tensor) {
  return at::stack({tensor, at::zeros_like(tensor)}, -1).select(-1, 0);
}

/// A tensor without memory: a loop over its entries would crash.
inline Tensor on_another_device(const Tensor& tensor) { return tensor.to(at::kMeta); }

/// Equal values and signs of zero; NaN equals NaN.
inline void expect_equal_bits(const Tensor& expected, const Tensor& actual) {
  EXPECT_TRUE(actual.allclose(expected, 0, 0, /*equal_nan=*/true)) << actual << expected;
  EXPECT_TRUE(actual.nan_to_num().signbit().equal(expected.nan_to_num().signbit()));
}

/// Whether the call throws an error of LibTorch.
inline bool throws(const std::function<void()>& call) {
  try {
    call();
  } catch (const c10::Error&) {
    return true;
  }
  return false;
}

/// A change to one operand that rules out the fused loop.
struct Layout {
  std::string name;
  std::function<Tensor(const Tensor&)> change;
};

inline std::vector<Layout> operand_layouts() {
  return {{"not contiguous", strided_copy},
          {"another dtype",
           [](const Tensor& tensor) {
             return tensor.to(tensor.scalar_type() == at::kFloat ? at::kDouble : at::kFloat);
           }},
          {"on another device", on_another_device}};
}

inline double epsilon_of(at::ScalarType dtype) {
  return dtype == at::kFloat    ? std::numeric_limits<float>::epsilon()
         : dtype == at::kDouble ? std::numeric_limits<double>::epsilon()
                                : 0x1p-7;  // bfloat16
}

}  // namespace twingrad::ops
