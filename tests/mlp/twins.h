#pragma once

#include <gtest/gtest.h>

#include <array>

#include "twingrad/compare/difference.h"
#include "twingrad/compare/distance.h"
#include "twingrad/compare/twin_comparer.h"
#include "twingrad/mlp/autograd_twin.h"
#include "twingrad/mlp/dropout_masks.h"
#include "twingrad/mlp/manual_twin.h"

namespace twingrad::testing {

inline double relative(const at::Tensor& expected, const at::Tensor& actual) {
  return difference(expected, actual).relative;
}

/// Expects the same names and shapes, in any order, and differences of at most `tolerance`, relative to the
/// largest entry of each tensor.
inline void expect_same_tensors(const std::vector<NamedTensor>& expected,
                                const std::vector<NamedTensor>& actual, double tolerance) {
  EXPECT_EQ(actual.size(), expected.size());
  for (const auto& [name, tensor] : expected) {
    EXPECT_LE(relative(tensor, find_tensor(actual, name, tensor.sizes())), tolerance) << name;
  }
}

/// Both twins of a network, with the same weights.
struct Twins {
  Twins(const MlpSpec& network, const OptimizerOptions& optimizer, at::ScalarType dtype_of_both)
      : spec(network),
        dtype(dtype_of_both),
        autograd(spec, optimizer, draw_initial_parameters(spec, 2), dtype),
        manual(spec, optimizer, draw_initial_parameters(spec, 2), dtype) {
    autograd.keep_intermediate_gradients(true);
  }

  Batch random_batch(std::int64_t rows) const {
    return {at::rand({rows, spec.inputs}, dtype), at::randint(0, spec.classes, {rows}, at::kLong),
            draw_dropout_masks(spec, rows, 1, rows)};
  }

  /// One step of both on the same random batch.
  void step(std::int64_t rows = 24) {
    const Batch batch = random_batch(rows);
    for (Twin* twin : both) {
      twin->set_dropout_masks(batch.masks);
      twin->forward(batch.images, batch.labels);
      twin->backward();
      twin->update();
    }
  }

  double weight_difference() const { return compare_weights(autograd, manual).absolute; }

  MlpSpec spec;
  at::ScalarType dtype;
  AutogradTwin autograd;
  ManualTwin manual;
  std::array<Twin*, 2> both = {&autograd, &manual};
};

class TwinsTest : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(13); }
};

/// Gradients at equal weights, then weights and optimizer states after 21 steps on batches of changing size.
inline void expect_twins_agree(const MlpSpec& spec, const OptimizerOptions& optimizer = {}) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    Twins twins(spec, optimizer, dtype);
    const Comparison comparison = compare_twins(twins.manual, twins.autograd, twins.random_batch(24));
    EXPECT_TRUE(comparison.passed()) << dtype << " " << comparison.to_string();
    twins.autograd.keep_intermediate_gradients(true);
    for (int i = 0; i < 21; ++i) {
      twins.step(10 + i);
    }
    if (dtype == at::kDouble) {
      EXPECT_LE(twins.weight_difference(), 1e-12);
      const LargestDifference state = compare_optimizer_state(twins.autograd, twins.manual);
      EXPECT_LE(state.relative, 1e-11) << state.worst;
    }
  }
}

}  // namespace twingrad::testing
