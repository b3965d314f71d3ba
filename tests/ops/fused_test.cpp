#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "twingrad/ops/fused_adam.h"
#include "twingrad/ops/fused_cross_entropy.h"
#include "twingrad/ops/fused_relu.h"

// Every fused operation is compared with its tensor version, for operands of the fused loop and for others.

namespace twingrad::ops {
namespace {

using at::Tensor;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The same values in memory that is not contiguous.
Tensor strided_copy(const Tensor& tensor) {
  return at::stack({tensor, at::zeros_like(tensor)}, -1).select(-1, 0);
}

/// Equal values and signs of zero; NaN equals NaN.
void expect_equal_bits(const Tensor& expected, const Tensor& actual) {
  EXPECT_TRUE(actual.allclose(expected, 0, 0, /*equal_nan=*/true)) << actual << expected;
  EXPECT_TRUE(actual.nan_to_num().signbit().equal(expected.nan_to_num().signbit()));
}

/// A change to one operand that rules out the fused loop.
struct Layout {
  std::string name;
  std::function<Tensor(const Tensor&)> change;
};

std::vector<Layout> operand_layouts() {
  return {{"not contiguous", strided_copy},
          {"another dtype", [](const Tensor& tensor) {
             return tensor.to(tensor.scalar_type() == at::kFloat ? at::kDouble : at::kFloat);
           }}};
}

double epsilon_of(at::ScalarType dtype) {
  return dtype == at::kFloat ? std::numeric_limits<float>::epsilon() : std::numeric_limits<double>::epsilon();
}

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
  try {
    relu_gradient(expected, operands[1], operands[2]);
  } catch (const c10::Error&) {  // LibTorch does not convert y to the dtype of grad_x
    EXPECT_THROW(fused(), c10::Error);
    return;
  }
  EXPECT_EQ(&fused(), &operands[0]);
  expect_equal_bits(expected, operands[0]);
}

TEST(FusedReLU, IsBitIdenticalForAnyOperand) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    for (const std::vector<std::int64_t>& shape :
         std::vector<std::vector<std::int64_t>>{{5, 21}, {1}, {0, 3}}) {
      const std::vector<Tensor> operands = relu_operands(dtype, shape);
      expect_equal_relu_gradients(operands);
      for (const Layout& layout : operand_layouts()) {
        for (std::size_t i = 0; i < operands.size(); ++i) {
          SCOPED_TRACE(layout.name + ", operand " + std::to_string(i));
          std::vector<Tensor> changed = operands;
          changed[i] = layout.change(operands[i]);
          expect_equal_relu_gradients(changed);
        }
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

// ---- Adam ----

constexpr std::int64_t kSizes[] = {0, 1, 127, 128, 1003};

struct AdamVectors {
  explicit AdamVectors(std::int64_t size, at::ScalarType dtype)
      : vectors({at::randn({size}, dtype), at::randn({size}, dtype), at::rand({size}, dtype)}) {}

  /// Parameters, exp_avg, exp_avg_sq, and with AMSGrad max_exp_avg_sq.
  std::vector<Tensor> vectors;

  AdamVectors copy() const {
    AdamVectors other = *this;
    for (Tensor& vector : other.vectors) {
      const Tensor copied = vector.is_contiguous() ? vector.clone() : strided_copy(vector);
      vector = copied;
    }
    return other;
  }
  AdamState state() { return {vectors[1], vectors[2], vectors.size() > 3 ? vectors[3] : none}; }

 private:
  Tensor none;
};

std::vector<AdamCoefficients> coefficients() {
  const AdamCoefficients plain = {.lr = 1e-3,
                                  .beta1 = 0.9,
                                  .beta2 = 0.999,
                                  .eps = 1e-8,
                                  .weight_decay = 0,
                                  .decoupled = false,
                                  .correction1 = 1 - 0.9,
                                  .correction2 = 1 - 0.999};
  AdamCoefficients coupled = plain;
  coupled.weight_decay = 0.1;
  AdamCoefficients decoupled = coupled;
  decoupled.decoupled = true;
  return {plain, coupled, decoupled};
}

std::vector<Tensor> random_parts(std::size_t count, std::int64_t size, at::ScalarType dtype) {
  std::vector<Tensor> parts;
  for (std::size_t i = 0; i < count; ++i) {
    parts.push_back(at::randn({size}, dtype));
  }
  return parts;
}

Tensor sum_of(const std::vector<Tensor>& parts) {
  Tensor sum = parts[0];
  for (std::size_t i = 1; i < parts.size(); ++i) {
    sum = sum + parts[i];
  }
  return sum;
}

/// Compares one step of both versions, within some roundings of entries of size 4. The tensor version gets
/// the sum of the parts.
void expect_equal_adam_steps(const AdamVectors& start, const std::vector<Tensor>& parts,
                             const AdamCoefficients& c) {
  AdamVectors fused = start.copy();
  AdamVectors general = start.copy();
  fused_adam(fused.vectors[0], parts, fused.state(), c);
  adam(general.vectors[0], sum_of(parts), general.state(), c);
  for (std::size_t i = 0; i < fused.vectors.size(); ++i) {
    const double bound = 32 * epsilon_of(fused.vectors[i].scalar_type());
    EXPECT_TRUE(fused.vectors[i].allclose(general.vectors[i], bound, bound)) << "vector " << i;
  }
}

TEST(FusedAdam, AgreesForOneTwoAndThreePartsInAnyLayout) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    for (const std::int64_t size : kSizes) {
      for (const AdamCoefficients& c : coefficients()) {
        const AdamVectors start(size, dtype);
        for (const std::size_t count : {1U, 2U, 3U}) {
          SCOPED_TRACE(::testing::Message() << size << " entries, " << count << " parts");
          const std::vector<Tensor> parts = random_parts(count, size, dtype);
          expect_equal_adam_steps(start, parts, c);
          std::vector<Tensor> strided_parts = parts;
          strided_parts.back() = strided_copy(parts.back());
          expect_equal_adam_steps(start, strided_parts, c);
          for (std::size_t i = 0; i < start.vectors.size(); ++i) {
            AdamVectors strided_start = start.copy();
            strided_start.vectors[i] = strided_copy(start.vectors[i]);
            expect_equal_adam_steps(strided_start, parts, c);
          }
          AdamVectors amsgrad = start.copy();
          amsgrad.vectors.push_back(at::rand({size}, dtype));
          expect_equal_adam_steps(amsgrad, parts, c);
        }
      }
    }
  }
}

TEST(FusedAdam, AcceptsPartsOfAnotherDtype) {
  const AdamVectors start(128, at::kDouble);
  expect_equal_adam_steps(start, {at::randn({128}, at::kFloat)}, coefficients()[0]);
}

TEST(FusedAdam, PartsAreBitIdenticalToTheirSum) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    for (const std::int64_t size : kSizes) {
      AdamVectors by_parts(size, dtype);
      AdamVectors by_sum = by_parts.copy();
      for (int step = 0; step < 3; ++step) {
        const std::vector<Tensor> parts = random_parts(3, size, dtype);
        const Tensor first = parts[0].clone();
        fused_adam(by_parts.vectors[0], parts, by_parts.state(), coefficients()[1]);
        fused_adam(by_sum.vectors[0], sum_of(parts), by_sum.state(), coefficients()[1]);
        EXPECT_TRUE(parts[0].equal(first)) << "the parts are not changed";
        for (std::size_t i = 0; i < by_parts.vectors.size(); ++i) {
          EXPECT_TRUE(by_parts.vectors[i].equal(by_sum.vectors[i])) << "size " << size << ", vector " << i;
        }
      }
    }
  }
}

TEST(FusedAdam, StaysCloseOverManySteps) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    for (const AdamCoefficients& c : coefficients()) {
      AdamVectors fused(1003, dtype);
      AdamVectors general = fused.copy();
      for (int step = 0; step < 50; ++step) {
        const Tensor gradient = at::randn({1003}, dtype);
        fused_adam(fused.vectors[0], gradient, fused.state(), c);
        adam(general.vectors[0], gradient, general.state(), c);
      }
      // 50 steps, some four roundings each, of parameters of size up to 4.
      const Tensor difference = (fused.vectors[0] - general.vectors[0]).abs().max();
      EXPECT_LE(difference.item<double>(), 400 * epsilon_of(dtype));
    }
  }
}

}  // namespace
}  // namespace twingrad::ops
