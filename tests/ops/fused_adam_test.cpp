#include "twingrad/ops/fused_adam.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "operands.h"
#include "twingrad/ops/sum_of_parts.h"

// The fused step is compared with the tensor version, for operands of the fused loop and for others.

namespace twingrad::ops {
namespace {

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
  if (throws([&] { adam(general.vectors[0], sum_of(parts), general.state(), c); })) {
    EXPECT_THROW(fused_adam(fused.vectors[0], parts, fused.state(), c), c10::Error);
    return;
  }
  fused_adam(fused.vectors[0], parts, fused.state(), c);
  for (std::size_t i = 0; i < fused.vectors.size(); ++i) {
    if (!general.vectors[i].device().is_cpu()) {
      continue;
    }
    const double bound = 32 * epsilon_of(fused.vectors[i].scalar_type());
    EXPECT_TRUE(fused.vectors[i].allclose(general.vectors[i], bound, bound)) << "vector " << i;
  }
}

TEST(FusedAdam, AgreesForOneTwoAndThreeParts) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    for (const std::int64_t size : kSizes) {
      for (const AdamCoefficients& c : coefficients()) {
        const AdamVectors start(size, dtype);
        for (const std::size_t count : {1U, 2U, 3U}) {
          SCOPED_TRACE(::testing::Message() << size << " entries, " << count << " parts");
          const std::vector<Tensor> parts = random_parts(count, size, dtype);
          expect_equal_adam_steps(start, parts, c);
          AdamVectors amsgrad = start.copy();
          amsgrad.vectors.push_back(at::rand({size}, dtype));
          expect_equal_adam_steps(amsgrad, parts, c);
        }
      }
    }
  }
}

TEST(FusedAdam, UsesTheTensorVersionForAllOtherOperands) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const AdamVectors start(130, dtype);
    for (const std::size_t count : {1U, 2U, 3U}) {
      const std::vector<Tensor> parts = random_parts(count, 130, dtype);
      expect_equal_adam_steps(start, parts, coefficients()[1]);
      for (const Layout& layout : operand_layouts()) {
        for (std::size_t i = 0; i < parts.size(); ++i) {
          SCOPED_TRACE(layout.name + ", part " + std::to_string(i));
          std::vector<Tensor> changed = parts;
          for (std::size_t j = 0; j < parts.size(); ++j) {
            if (j == i || layout.name == "another dtype") {  // which all parts share
              changed[j] = layout.change(parts[j]);
            }
          }
          expect_equal_adam_steps(start, changed, coefficients()[1]);
        }
        AdamVectors all = start.copy();
        for (std::size_t i = 0; i < start.vectors.size(); ++i) {
          SCOPED_TRACE(layout.name + ", vector " + std::to_string(i));
          AdamVectors changed = start.copy();
          changed.vectors[i] = all.vectors[i] = layout.change(start.vectors[i]);
          expect_equal_adam_steps(changed, parts, coefficients()[1]);
        }
        std::vector<Tensor> all_parts;
        for (const Tensor& part : parts) {
          all_parts.push_back(layout.change(part));
        }
        SCOPED_TRACE(layout.name + ", all operands");
        expect_equal_adam_steps(all, all_parts, coefficients()[1]);
      }
    }
  }
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

TEST(AdamOnDevice, AgreesWhenStepAndRateAreTensors) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    for (AdamCoefficients c : coefficients()) {
      for (const bool amsgrad : {false, true}) {
        AdamVectors by_number(1003, dtype);
        if (amsgrad) {
          by_number.vectors.push_back(at::zeros({1003}, dtype));
        }
        AdamVectors by_tensor = by_number.copy();
        AdamOnDevice on_device = {at::full({}, 6, at::kDouble), at::full({}, c.lr, at::kDouble)};
        for (int step = 7; step < 30; ++step) {
          const Tensor gradient = at::randn({1003}, dtype);
          c.lr = 1e-3 * step;
          on_device.lr.fill_(c.lr);
          c.correction1 = 1 - std::pow(c.beta1, step);
          c.correction2 = 1 - std::pow(c.beta2, step);
          adam(by_number.vectors[0], gradient, by_number.state(), c);
          const AdamCoefficients without = {0, c.beta1, c.beta2, c.eps, c.weight_decay, c.decoupled};
          adam_on_device(by_tensor.vectors[0], gradient, by_tensor.state(), without, on_device);
          EXPECT_EQ(on_device.steps.item<double>(), step);
        }
        for (std::size_t i = 0; i < by_number.vectors.size(); ++i) {
          // 23 steps, some eight roundings each, of entries of size up to 4.
          const Tensor difference = (by_tensor.vectors[i] - by_number.vectors[i]).abs().max();
          EXPECT_LE(difference.item<double>(), 800 * epsilon_of(dtype)) << "vector " << i;
        }
      }
    }
  }
}

// ---- The sum of parts ----

TEST(SumOfParts, AddsTheirEntriesAndLeavesThemUnchanged) {
  Tensor buffer;
  for (const std::int64_t size : {5, 5, 3}) {
    for (std::size_t count = 1; count <= 4; ++count) {
      const std::vector<Tensor> parts = random_parts(count, size, at::kDouble);
      std::vector<Tensor> before;
      for (const Tensor& part : parts) {
        before.push_back(part.clone());
      }
      const Tensor& sum = sum_of_parts(parts, buffer);
      EXPECT_TRUE(sum.equal(sum_of(before))) << size << " entries, " << count << " parts";
      EXPECT_EQ(sum.is_same(parts[0]), count == 1) << "a single part is returned itself";
      for (std::size_t i = 0; i < count; ++i) {
        EXPECT_TRUE(parts[i].equal(before[i])) << "part " << i;
      }
    }
    buffer.reset();
  }
}

TEST(SumOfParts, WritesIntoTheBuffer) {
  const std::vector<Tensor> parts = random_parts(2, 5, at::kDouble);
  Tensor buffer = at::full({5}, NAN, at::kDouble);
  const void* memory = buffer.data_ptr();
  EXPECT_EQ(&sum_of_parts(parts, buffer), &buffer);
  EXPECT_EQ(buffer.data_ptr(), memory);
  EXPECT_TRUE(buffer.equal(parts[0] + parts[1]));
}

}  // namespace
}  // namespace twingrad::ops
