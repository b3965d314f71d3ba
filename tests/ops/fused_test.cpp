#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "operands.h"
#include "twingrad/ops/fused_cross_entropy.h"
#include "twingrad/ops/fused_relu.h"

// Every fused operation is compared with its tensor version, for operands of the fused loop and for others.

namespace twingrad::ops {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// ---- ReLU ----

/// grad_x, grad_y, y
std::vector<Tensor> relu_operands(at::ScalarType dtype, at::IntArrayRef shape) {
  std::vector<Tensor> operands = {at::empty(shape, dtype), at::randn(shape, dtype),
                                  at::randn(shape, dtype).clamp_min(0)};
  if (operands[2].numel() > 10) {
    const auto special = at::tensor({NAN, 0.0, -0.0, kInfinity}, at::kDouble).to(dtype);
    operands[1].view(-1).narrow(0, 2, 4).copy_(special);
    operands[2].view(-1).narrow(0, 0, 4).copy_(special.abs());
  }
  return operands;
}

void expect_equal_relu_gradients(std::vector<Tensor> operands) {
  Tensor expected = operands[0].clone();
  const auto fused = [&]() -> Tensor& { return fused_relu_gradient(operands[0], operands[1], operands[2]); };
  // LibTorch does not convert y to the dtype of grad_x, and mixes no devices.
  if (throws([&] { relu_gradient(expected, operands[1], operands[2]); })) {
    EXPECT_THROW(fused(), c10::Error);
    return;
  }
  EXPECT_EQ(&fused(), &operands[0]);
  if (expected.device().is_cpu()) {
    expect_equal_bits(expected, operands[0]);
  }
}

TEST(FusedReLU, BroadcastsAnUpstreamGradientOfOneRowAsTheTensorVersionDoes) {
  std::vector<Tensor> operands = relu_operands(at::kFloat, {5, 21});
  operands[1] = operands[1].narrow(0, 0, 1);
  expect_equal_relu_gradients(operands);
}

TEST(FusedReLU, IsBitIdenticalForAnyOperand) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kBFloat16}) {
    for (const std::vector<std::int64_t>& shape :
         std::vector<std::vector<std::int64_t>>{{5, 21}, {1}, {0, 3}}) {
      const std::vector<Tensor> operands = relu_operands(dtype, shape);
      expect_equal_relu_gradients(operands);
      for (const Layout& layout : operand_layouts()) {
        std::vector<Tensor> all;
        for (std::size_t i = 0; i < operands.size(); ++i) {
          SCOPED_TRACE(layout.name + ", operand " + std::to_string(i));
          std::vector<Tensor> changed = operands;
          changed[i] = layout.change(operands[i]);
          all.push_back(changed[i]);
          expect_equal_relu_gradients(changed);
        }
        SCOPED_TRACE(layout.name + ", all operands");
        expect_equal_relu_gradients(all);
      }
    }
  }
}

// ---- Cross-entropy ----

CrossEntropyBuffers buffers_for(const Tensor& logits) {
  return {at::empty({logits.size(0), 1}, logits.options()), at::empty(logits.sizes(), logits.options()),
          at::empty({logits.size(0), 1}, logits.options())};
}

/// Compares both versions of the value and of the gradient.
void expect_equal_cross_entropy(const Tensor& logits, const Tensor& target) {
  CrossEntropyBuffers fused = buffers_for(logits);
  CrossEntropyBuffers general = buffers_for(logits);
  fused_cross_entropy(logits, target, fused);
  cross_entropy(logits, target, general);
  // Sums in a different order differ by a few roundings.
  const double few = logits.scalar_type() == at::kFloat ? 1e-6 : 1e-15;
  const auto expect_close = [&](const Tensor& expected, const Tensor& actual) {
    EXPECT_TRUE(actual.allclose(expected, few, few, /*equal_nan=*/true)) << actual << expected;
  };
  expect_close(general.losses, fused.losses);
  Tensor gradient = at::empty_like(general.exp);
  Tensor by_rows = at::empty_like(general.exp);
  Tensor by_tensors = at::empty_like(general.exp);
  fused_cross_entropy_gradient(gradient, target, fused);
  fused_cross_entropy_gradient(by_rows, target, general);
  cross_entropy_gradient(by_tensors, target, general);
  expect_close(by_tensors, gradient);
  expect_equal_bits(by_tensors, by_rows);  // from the same buffers: a division and a subtraction
}

TEST(FusedCrossEntropy, AgreesForAnyOperand) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    for (const std::int64_t rows : {0, 6, 200}) {  // 200: exp of many logits is vectorized
      SCOPED_TRACE(rows);
      Tensor logits = at::randn({rows, 4}, dtype) * 3;
      const Tensor target = at::randint(0, 4, {rows}, at::kLong);
      expect_equal_cross_entropy(logits, target);
      if (rows > 5) {
        logits[3][1] = NAN;
        logits[4][2] = kInfinity;
        logits[5].fill_(-kInfinity);
      }
      expect_equal_cross_entropy(logits, target);
      expect_equal_cross_entropy(strided_copy(logits), target);
      expect_equal_cross_entropy(logits, strided_copy(target));
    }
  }
}

/// Both versions throw an error of LibTorch, or neither does and the results agree.
void expect_same_refusal(const Tensor& logits, const Tensor& target) {
  CrossEntropyBuffers fused = buffers_for(logits);
  CrossEntropyBuffers general = buffers_for(logits);
  const bool refused = throws([&] { cross_entropy(logits, target, general); });
  EXPECT_EQ(throws([&] { fused_cross_entropy(logits, target, fused); }), refused);
  // The gradient follows a valid forward pass with another target of the same kind.
  CrossEntropyBuffers valid = buffers_for(logits);
  valid.exp.fill_(1);
  valid.sum_of_exp.fill_(1);
  Tensor grad = at::empty_like(valid.exp);
  const bool gradient_refused = throws([&] { cross_entropy_gradient(grad, target, valid); });
  EXPECT_EQ(throws([&] { fused_cross_entropy_gradient(grad, target, valid); }), gradient_refused);
}

TEST(FusedCrossEntropy, UsesTheTensorVersionForAllOtherOperands) {
  const Tensor logits = at::randn({6, 4});
  const Tensor target = at::randint(0, 4, {6}, at::kLong);
  const auto with_class = [&](std::int64_t row, std::int64_t value) {
    Tensor changed = target.clone();
    changed[row] = value;
    return changed;
  };
  expect_equal_cross_entropy(logits.to(at::kBFloat16), target);
  const std::vector<std::pair<std::string, Tensor>> targets = {
      {"too short", target.narrow(0, 0, 5)},
      {"too long", at::cat({target, target})},
      {"a column", target.unsqueeze(1)},
      {"int32", target.to(at::kInt)},
      {"of floating dtype", target.to(at::kDouble)},
      {"on another device", on_another_device(target)},
      {"class C in the first row", with_class(0, 4)},
      {"class C in the last row", with_class(5, 4)},
      {"class -1 in the last row", with_class(5, -1)}};
  for (const auto& [name, changed] : targets) {
    SCOPED_TRACE("target " + name);
    expect_same_refusal(logits, changed);
  }
  for (const Tensor& changed :
       {logits[0], logits.unsqueeze(0), logits.narrow(1, 0, 0), logits.narrow(0, 0, 5),
        on_another_device(logits), logits.to(at::kHalf), logits.to(at::kInt)}) {
    SCOPED_TRACE(::testing::Message() << "logits " << changed.sizes() << changed.options());
    expect_same_refusal(changed, target);
  }
  expect_same_refusal(on_another_device(logits), on_another_device(target));
}

TEST(FusedCrossEntropy, WritesIntoAGradientThatIsNotContiguous) {
  const Tensor logits = at::randn({6, 4});
  const Tensor target = at::randint(0, 4, {6}, at::kLong);
  CrossEntropyBuffers buffers = buffers_for(logits);
  fused_cross_entropy(logits, target, buffers);
  Tensor expected = at::empty({6, 4});
  Tensor strided = at::empty({4, 6}).t();
  fused_cross_entropy_gradient(expected, target, buffers);
  fused_cross_entropy_gradient(strided, target, buffers);
  expect_equal_bits(expected, strided);
}

}  // namespace
}  // namespace twingrad::ops
