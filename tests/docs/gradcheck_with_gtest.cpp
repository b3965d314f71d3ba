#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <vector>

#include "twingrad/gradcheck/gtest.h"

using Tensors = std::vector<at::Tensor>;

Tensors linear(const Tensors& in) { return {at::linear(in[0], in[1], in[2])}; }

Tensors inputs() {
  at::manual_seed(1);
  return {at::randn({4, 3}, at::kDouble).requires_grad_(), at::randn({2, 3}, at::kDouble).requires_grad_(),
          at::randn({2}, at::kDouble).requires_grad_()};
}

TEST(Linear, Gradients) { EXPECT_GRADIENTS_MATCH(linear, inputs()); }

TEST(Linear, SecondDerivatives) {
  EXPECT_TRUE(twingrad::as_assertion(twingrad::gradgradcheck(linear, inputs())));
}
