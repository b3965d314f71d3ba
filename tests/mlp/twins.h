#pragma once

#include <gtest/gtest.h>

#include <array>

#include "twingrad/compare/compare_twins.h"
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

  /// One step of both on the same random batch.
  void step(std::int64_t rows = 24) {
    const at::Tensor images = at::rand({rows, spec.inputs}, dtype);
    const at::Tensor labels = at::randint(0, spec.classes, {rows}, at::kLong);
    const std::vector<at::Tensor> masks = draw_dropout_masks(spec, rows, 1, rows);
    for (Twin* twin : both) {
      twin->set_dropout_masks(masks);
      (twin == &autograd ? agreement.autograd_loss : agreement.manual_loss) = twin->forward(images, labels);
      twin->backward();
    }
    compare_gradients(autograd, manual, agreement);
    autograd.update();
    manual.update();
    compare_weights(autograd, manual, agreement);
  }

  MlpSpec spec;
  at::ScalarType dtype;
  AutogradTwin autograd;
  ManualTwin manual;
  std::array<Twin*, 2> both = {&autograd, &manual};
  Agreement agreement;
};

class TwinsTest : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(13); }
};

/// Gradients at equal weights, then weights and optimizer states after 21 steps on batches of changing size.
inline void expect_twins_agree(const MlpSpec& spec, const OptimizerOptions& optimizer = {}) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    Twins twins(spec, optimizer, dtype);
    twins.step();
    const double bound = agreement_bound(spec, dtype, twins.autograd.logits().abs().max().item<double>());
    EXPECT_LE(twins.agreement.max_rel_gradient_difference, bound) << twins.agreement.worst << " " << dtype;
    EXPECT_LE(twins.agreement.loss_difference, bound);
    for (int i = 0; i < 20; ++i) {
      twins.step(10 + i);
    }
    if (dtype == at::kDouble) {
      EXPECT_LE(twins.agreement.max_abs_weight_difference, 1e-12);
      const LargestDifference state = compare_optimizer_state(twins.autograd, twins.manual);
      EXPECT_LE(state.relative, 1e-11) << state.worst;
    }
  }
}

}  // namespace twingrad::testing
