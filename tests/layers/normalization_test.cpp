#include <gtest/gtest.h>
#include <torch/nn/modules/batchnorm.h>

#include <cmath>
#include <limits>

#include "../catalogue/expect_agreement.h"
#include "twingrad/layers/batch_norm.h"
#include "twingrad/layers/layer_norm.h"
#include "twingrad/layers/rms_norm.h"
#include "twingrad/mlp/torch_reference.h"

// The catalogue checks the normalizations with their default options. These tests cover other options and
// edge cases.

namespace twingrad::nn {
namespace {

using catalogue::autograd_error;
using catalogue::Case;
using catalogue::draw;
using catalogue::FunctionEntry;
using catalogue::make_layer;
using catalogue::relative;
using catalogue::Tensors;

bool is_zero(const Tensor& tensor) { return tensor.eq(0).all().item<bool>(); }

Parameter with_gradient(const Tensor& value) { return {value, at::full_like(value, NAN)}; }

/// x [rows, 4], a scale and a shift.
Tensors affine_inputs(std::int64_t rows) { return {draw({rows, 4}, 2), draw({4}), draw({4})}; }

/// Tolerance for inputs near 1e4 with standard deviation 2: x − μ has an error of 1e4 · 1e-16, which carries
/// over to the gradient. 1e-11 is about ten times that.
constexpr double kFarFromTheOrigin = 1e-11;

// ---- BatchNorm1d ----

class BatchNormTest : public ::testing::Test {
 protected:
  Parameter weight = with_gradient(draw({4}));
  Parameter bias = with_gradient(draw({4}));
  RunningStatistics statistics = {draw({4}), draw({4}).abs() + 0.5};
};

/// In evaluation mode. Uses batch statistics if `running` is empty. inputs: x, weight and bias, or x alone.
FunctionEntry batch_norm_entry(const Tensors& inputs, const RunningStatistics& running, double eps = 1e-5) {
  const bool affine = inputs.size() > 1;
  const bool evaluates = running.mean.defined();
  const auto make = [=](const std::vector<Parameter>& p) {
    auto layer = std::make_unique<BatchNorm1d>(affine ? p[0] : Parameter{}, affine ? p[1] : Parameter{},
                                               running, BatchNorm1dOptions{.eps = eps});
    layer->eval();
    return layer;
  };
  return {.name = "batch_norm",
          .make = [=] { return catalogue::of_layer(make); },
          .reference =
              [=](const Tensors& in) {
                return at::batch_norm(in[0], affine ? in[1] : Tensor(), affine ? in[2] : Tensor(),
                                      running.mean, running.variance, !evaluates, 0.1, eps, false);
              },
          .cases = {{"given", inputs}}};
}

TEST_F(BatchNormTest, AgreesForTwoRowsWithALargeEpsilon) {
  // With a small ε two rows become ±1, and ∂L/∂x is a difference of two equal terms.
  EXPECT_LE(autograd_error(batch_norm_entry(affine_inputs(2), {}, 0.5)), 1e-13);
}

TEST_F(BatchNormTest, EvaluationWithoutRunningStatisticsUsesBatchStatistics) {
  catalogue::expect_agreement(batch_norm_entry(affine_inputs(6), {}));
}

TEST_F(BatchNormTest, AgreesInEvaluationWithoutWeightAndBias) {
  EXPECT_LE(autograd_error(batch_norm_entry({draw({6, 4})}, statistics)), 1e-13);
}

TEST_F(BatchNormTest, AgreesFarFromTheOrigin) {
  Tensors inputs = affine_inputs(6);
  inputs[0].add_(1e4);
  EXPECT_LE(autograd_error(batch_norm_entry(inputs, {})), kFarFromTheOrigin);
}

/// LibTorch's module with the same weight, bias and momentum. Its running statistics start at 0 and 1.
torch::nn::BatchNorm1d torch_module(const Parameter& weight, const Parameter& bias,
                                    std::optional<double> momentum) {
  const c10::optional<double> theirs = momentum ? c10::optional<double>(*momentum) : c10::nullopt;
  torch::nn::BatchNorm1d module(torch::nn::BatchNorm1dOptions(4).momentum(theirs));
  module->to(at::kDouble);
  const at::NoGradGuard no_grad;
  module->weight.copy_(weight.value);
  module->bias.copy_(bias.value);
  return module;
}

TEST_F(BatchNormTest, RunningStatisticsAgreeWithTorchNn) {
  for (const std::optional<double> momentum :
       {std::optional(0.1), std::optional(0.3), std::optional<double>()}) {
    SCOPED_TRACE(momentum.value_or(NAN));
    torch::nn::BatchNorm1d theirs = torch_module(weight, bias, momentum);
    BatchNorm1d ours(weight, bias, {at::zeros({4}, at::kDouble), at::ones({4}, at::kDouble)},
                     {.momentum = momentum});
    BatchNorm1d single({}, {}, {at::zeros({4}), at::ones({4})}, {.momentum = momentum});
    for (const std::int64_t rows : {8, 2, 5, 8}) {
      const Tensor x = draw({rows, 4}, 2) + 3;
      EXPECT_LE(relative(theirs->forward(x).detach(), ours.forward(x)), 1e-13);
      EXPECT_LE(relative(theirs->running_mean, ours.statistics().mean), 1e-13);
      EXPECT_LE(relative(theirs->running_var, ours.statistics().variance), 1e-13);
      single.forward(x.to(at::kFloat));
      EXPECT_LE(relative(theirs->running_mean, single.statistics().mean),
                64 * std::numeric_limits<float>::epsilon());
    }
    EXPECT_EQ(ours.statistics().batches, theirs->num_batches_tracked.item<std::int64_t>());
    theirs->eval();
    ours.eval();
    const Tensor x = draw({3, 4});
    EXPECT_LE(relative(theirs->forward(x).detach(), ours.forward(x)), 1e-13);
    EXPECT_EQ(ours.statistics().batches, 4) << "evaluation does not update the statistics";
  }
}

TEST_F(BatchNormTest, UpdatesTheGivenRunningStatisticsInPlace) {
  const Tensor before = statistics.mean.clone();
  BatchNorm1d layer(weight, bias, statistics);
  layer.forward(draw({6, 4}));
  EXPECT_FALSE(statistics.mean.equal(before)) << "a checkpoint contains these tensors";
}

TEST_F(BatchNormTest, RejectsOneRowInTrainingAsTorchNnDoes) {
  const Tensor x = draw({1, 4});
  BatchNorm1d layer(weight, bias, statistics);
  EXPECT_THROW(layer.forward(x), std::invalid_argument);
  EXPECT_ANY_THROW(torch_module(weight, bias, 0.1)->forward(x));
  BatchNorm1d without_statistics(weight, bias, {});
  without_statistics.eval();
  EXPECT_THROW(without_statistics.forward(x), std::invalid_argument);
}

TEST_F(BatchNormTest, AnEmptyBatchDoesNotChangeTheStatistics) {
  const Tensor mean = statistics.mean.clone();
  const Tensor variance = statistics.variance.clone();
  BatchNorm1d layer(weight, bias, statistics);
  layer.forward(draw({0, 4}));
  EXPECT_TRUE(statistics.mean.equal(mean));
  EXPECT_TRUE(statistics.variance.equal(variance));
}

TEST_F(BatchNormTest, AConstantColumnGivesTheBias) {
  const Tensor x = draw({6, 4});
  x.select(1, 2).fill_(7);
  BatchNorm1d layer(weight, bias, statistics);
  EXPECT_TRUE(layer.forward(x).select(1, 2).eq(bias.value[2]).all().item<bool>());
}

// ---- LayerNorm, RMSNorm ----

/// inputs: x; x and weight; or x, weight and bias.
FunctionEntry layer_norm_entry(const Tensors& inputs, double eps = 1e-5) {
  const auto make = inputs.size() == 1   ? make_layer<LayerNorm>(Parameter{}, Parameter{}, eps)
                    : inputs.size() == 2 ? make_layer<LayerNorm, 1>(Parameter{}, eps)
                                         : make_layer<LayerNorm, 2>(eps);
  const auto reference = [=](const Tensors& in) {
    return at::layer_norm(in[0], {in[0].size(1)}, in.size() > 1 ? in[1] : Tensor(),
                          in.size() > 2 ? in[2] : Tensor(), eps, false);
  };
  return {.name = "layer_norm", .make = make, .reference = reference, .cases = {{"given", inputs}}};
}

TEST(LayerNorm, AgreesWithAnotherEpsilonAndWithoutABias) {
  catalogue::expect_agreement(layer_norm_entry(affine_inputs(6), 0.5));
  catalogue::expect_agreement(layer_norm_entry({draw({6, 4}), draw({4})}));
}

TEST(LayerNorm, AgreesFarFromTheOrigin) {
  EXPECT_LE(autograd_error(layer_norm_entry({draw({6, 4}, 2) + 1e4})), kFarFromTheOrigin);
}

TEST(LayerNorm, ConstantRowsGiveZero) {
  // x − μ is 0. LibTorch computes x/σ − μ/σ, with a rounding error of |x|/√ε = 2,000, about 1e-12.
  for (const std::int64_t columns : {1, 4}) {
    const Tensor x = at::full({2, columns}, 7, at::kDouble);
    const Tensor grad_y = draw({2, columns});
    const FunctionEntry entry = layer_norm_entry({x});
    LayerNorm layer({}, {});
    EXPECT_TRUE(is_zero(layer.forward(x)));
    EXPECT_LE(entry.reference({x}).abs().max().item<double>(), 1e-11);
    const Tensor expected = catalogue::autograd_gradients(entry, {x}, grad_y)[0];
    EXPECT_LE(difference(expected, layer.backward(grad_y)).absolute, 1e-11);
  }
}

constexpr double kMachineEpsilon = std::numeric_limits<double>::epsilon();

FunctionEntry rms_norm_entry(const Tensor& x, std::optional<double> eps) {
  return {.name = "rms_norm",
          .make = make_layer<RMSNorm>(Parameter{}, eps),
          .reference = [=](const Tensors& in) { return torch_reference::rms_norm(in[0], {}, eps); },
          .cases = {{"given", {x}}}};
}

TEST(RMSNorm, AgreesWithAnotherEpsilonAndOneColumn) {
  catalogue::expect_agreement(rms_norm_entry(draw({6, 4}), 0.5));
  // With a small ε the slope in one column is a difference of two equal terms.
  catalogue::expect_agreement(rms_norm_entry(catalogue::matrix({2, -0.5}, 2), 0.5));
}

TEST(RMSNorm, AgreesAtZero) {
  // The slope is 6.7e7 only for |x| < 1.5e-8, which is too narrow for a central difference.
  EXPECT_LE(autograd_error(rms_norm_entry(at::zeros({2, 4}, at::kDouble), std::nullopt)), 1e-13);
}

TEST(RMSNorm, UsesTheMachineEpsilonOfTheDtype) {
  RMSNorm layer({});
  layer.forward(at::zeros({1, 4}));
  const Tensor slope = layer.backward(at::ones({1, 4}));
  EXPECT_FLOAT_EQ(slope[0][0].item<float>(), 1 / std::sqrt(std::numeric_limits<float>::epsilon()));
  layer.forward(at::zeros({1, 4}, at::kDouble));
  EXPECT_DOUBLE_EQ(layer.backward(at::ones({1, 4}, at::kDouble))[0][0].item<double>(),
                   1 / std::sqrt(kMachineEpsilon));
}

}  // namespace
}  // namespace twingrad::nn
