#include <gtest/gtest.h>
#include <torch/torch.h>

#include "layer_oracles.h"
#include "twingrad/layers/batch_norm.h"
#include "twingrad/layers/layer_norm.h"
#include "twingrad/layers/rms_norm.h"

namespace twingrad {
namespace {

using namespace nn;

using testing::autograd_gradients;
using testing::expect_matches_oracles;
using testing::Function;
using testing::kAutogradBound;
using testing::parameter;
using testing::random_input;
using testing::relative_error;
using testing::Tensors;

/// Holds a layer against autograd alone, where no step of a central difference fits.
void expect_matches_autograd(Layer& layer, const Function& f, const Tensor& x, double bound) {
  const Tensor grad_y = torch::randn_like(x);
  EXPECT_LE(relative_error(f({x}), layer.forward(x)), bound);
  EXPECT_LE(relative_error(autograd_gradients(f, {x}, grad_y)[0], layer.backward(grad_y)), bound);
}

/// The layer in float32 beside itself in float64: y and ∂L/∂x to some roundings of the largest entry.
void expect_float32_follows(Layer& in_double, Layer& in_float, double roundings) {
  const Tensor x = random_input(16, 8);
  const Tensor grad_y = random_input(16, 8);
  const double bound = roundings * std::numeric_limits<float>::epsilon();
  EXPECT_LE(relative_error(in_double.forward(x), in_float.forward(x.to(torch::kFloat))), bound);
  EXPECT_LE(relative_error(in_double.backward(grad_y), in_float.backward(grad_y.to(torch::kFloat))), bound);
}

Parameter in_float(const Parameter& parameter) {
  return {parameter.value.to(torch::kFloat), parameter.grad.to(torch::kFloat)};
}

bool is_zero(const Tensor& tensor) { return tensor.eq(0).all().item<bool>(); }

// ---- BatchNorm1d
// ----------------------------------------------------------------------------------------------------

class BatchNormTest : public ::testing::Test {
 protected:
  void SetUp() override {
    torch::manual_seed(13);
    weight = parameter({4});
    bias = parameter({4});
    statistics = {torch::randn({4}, torch::kDouble), torch::rand({4}, torch::kDouble) + 0.5};
  }

  /// LibTorch's function of {x, weight, bias}, with copies of the running statistics, which it would change.
  Function reference(bool training, double epsilon = 1e-5) const {
    return [=, mean = statistics.mean.clone(), variance = statistics.variance.clone()](const Tensors& in) {
      return torch::batch_norm(in[0], in.size() > 1 ? in[1] : Tensor(), in.size() > 1 ? in[2] : Tensor(),
                               mean.clone(), variance.clone(), training, 0.1, epsilon, false);
    };
  }

  Parameter weight, bias;
  RunningStatistics statistics;
};

TEST_F(BatchNormTest, MatchesBothOraclesInTraining) {
  for (const std::int64_t rows : {3, 8}) {
    SCOPED_TRACE(rows);
    const Function f = reference(true);
    BatchNorm1d layer(weight, bias, statistics);
    expect_matches_oracles(layer, f, random_input(rows, 4), {weight, bias});
  }
}

TEST_F(BatchNormTest, MatchesBothOraclesForTwoRows) {
  // Two rows become ±1 up to ε, so that ∂L/∂x is a difference of two equals: with the usual ε 1e-5 of its
  // terms, and so are its digits.
  const Function f = reference(true, 0.5);
  BatchNorm1d layer(weight, bias, statistics, {.eps = 0.5});
  expect_matches_oracles(layer, f, random_input(2, 4), {weight, bias});
}

TEST_F(BatchNormTest, MatchesBothOraclesInEvaluation) {
  BatchNorm1d layer(weight, bias, statistics);
  layer.eval();
  for (const std::int64_t rows : {1, 6}) {
    SCOPED_TRACE(rows);
    expect_matches_oracles(layer, reference(false), random_input(rows, 4), {weight, bias});
  }
}

TEST_F(BatchNormTest, MatchesBothOraclesWithoutWeightAndBias) {
  for (const bool training : {true, false}) {
    const Function f = reference(training);
    BatchNorm1d layer({}, {}, statistics);
    layer.train(training);
    expect_matches_oracles(layer, f, random_input(6, 4));
  }
}

TEST_F(BatchNormTest, WithoutRunningStatisticsEvaluationTakesThoseOfTheBatch) {
  const Function f = reference(true);
  BatchNorm1d layer(weight, bias, {});
  layer.eval();
  expect_matches_oracles(layer, f, random_input(6, 4), {weight, bias});
}

TEST_F(BatchNormTest, TakesInputsThatAreNotContiguous) {
  const Function f = reference(true);
  BatchNorm1d layer(weight, bias, statistics);
  expect_matches_oracles(layer, f, random_input(4, 6).t(), {weight, bias});
}

TEST_F(BatchNormTest, TakesOneColumn) {
  const Parameter one_weight = parameter({1});
  const Parameter one_bias = parameter({1});
  statistics = {torch::zeros({1}, torch::kDouble), torch::ones({1}, torch::kDouble)};
  const Function f = reference(true);
  BatchNorm1d layer(one_weight, one_bias, statistics);
  expect_matches_oracles(layer, f, random_input(6, 1), {one_weight, one_bias});
}

/// A module of LibTorch with the same weight, bias and options, its running statistics at 0 and 1.
torch::nn::BatchNorm1d torch_module(const Parameter& weight, const Parameter& bias,
                                    std::optional<double> momentum) {
  const c10::optional<double> theirs = momentum ? c10::optional<double>(*momentum) : c10::nullopt;
  torch::nn::BatchNorm1d module(torch::nn::BatchNorm1dOptions(4).momentum(theirs));
  module->to(torch::kDouble);
  const torch::NoGradGuard no_grad;
  module->weight.copy_(weight.value);
  module->bias.copy_(bias.value);
  return module;
}

TEST_F(BatchNormTest, RunningStatisticsFollowThoseOfTorchNn) {
  for (const std::optional<double> momentum :
       {std::optional(0.1), std::optional(0.3), std::optional<double>()}) {
    SCOPED_TRACE(momentum.value_or(NAN));
    torch::nn::BatchNorm1d theirs = torch_module(weight, bias, momentum);
    BatchNorm1d ours(weight, bias, {torch::zeros({4}, torch::kDouble), torch::ones({4}, torch::kDouble)},
                     {.momentum = momentum});
    for (const std::int64_t rows : {8, 2, 5, 8}) {
      const Tensor x = random_input(rows, 4) + 3;
      EXPECT_LE(relative_error(theirs->forward(x).detach(), ours.forward(x)), kAutogradBound);
      EXPECT_LE(relative_error(theirs->running_mean, ours.statistics().mean), kAutogradBound);
      EXPECT_LE(relative_error(theirs->running_var, ours.statistics().variance), kAutogradBound);
    }
    EXPECT_EQ(ours.statistics().batches, theirs->num_batches_tracked.item<std::int64_t>());
    theirs->eval();
    ours.eval();
    const Tensor x = random_input(3, 4);
    EXPECT_LE(relative_error(theirs->forward(x).detach(), ours.forward(x)), kAutogradBound);
    EXPECT_EQ(ours.statistics().batches, 4) << "evaluation remembers nothing";
  }
}

TEST_F(BatchNormTest, WritesTheRunningStatisticsIntoTheTensorsItWasGiven) {
  const Tensor before = statistics.mean.clone();
  BatchNorm1d layer(weight, bias, statistics);
  layer.forward(random_input(6, 4));
  EXPECT_FALSE(statistics.mean.equal(before)) << "a checkpoint holds these tensors";
}

TEST_F(BatchNormTest, RefusesOneRowInTrainingAsTorchNnDoes) {
  const Tensor x = random_input(1, 4);
  BatchNorm1d layer(weight, bias, statistics);
  EXPECT_THROW(layer.forward(x), std::invalid_argument);
  EXPECT_ANY_THROW(torch_module(weight, bias, 0.1)->forward(x));
  BatchNorm1d without_statistics(weight, bias, {});
  without_statistics.eval();
  EXPECT_THROW(without_statistics.forward(x), std::invalid_argument);
}

TEST_F(BatchNormTest, NoRowsMoveNoStatisticsAndGiveGradientZero) {
  const Tensor mean = statistics.mean.clone();
  const Tensor variance = statistics.variance.clone();
  BatchNorm1d layer(weight, bias, statistics);
  EXPECT_EQ(layer.forward(random_input(0, 4)).sizes(), at::IntArrayRef({0, 4}));
  EXPECT_EQ(layer.backward(random_input(0, 4)).sizes(), at::IntArrayRef({0, 4}));
  EXPECT_TRUE(is_zero(weight.grad));
  EXPECT_TRUE(is_zero(bias.grad));
  EXPECT_TRUE(statistics.mean.equal(mean));
  EXPECT_TRUE(statistics.variance.equal(variance));
}

TEST_F(BatchNormTest, AConstantColumnGivesTheBias) {
  Tensor x = random_input(6, 4);
  x.select(1, 2).fill_(7);
  const Function f = reference(true);
  BatchNorm1d layer(weight, bias, statistics);
  EXPECT_TRUE(layer.forward(x).select(1, 2).eq(bias.value[2]).all().item<bool>());
  expect_matches_autograd(
      layer,
      [&](const Tensors& in) {
        return f({in[0], weight.value, bias.value});
      },
      x, kAutogradBound);
}

TEST_F(BatchNormTest, MatchesFarFromTheOrigin) {
  // x − μ loses 1e4 · 1e-16 of a spread of 2, and the slope inherits it: 1e-11 is ten times that.
  const Function f = reference(true);
  BatchNorm1d layer(weight, bias, statistics);
  expect_matches_autograd(
      layer,
      [&](const Tensors& in) {
        return f({in[0], weight.value, bias.value});
      },
      random_input(6, 4) + 1e4, 1e-11);
}

TEST_F(BatchNormTest, Float32FollowsFloat64) {
  weight = parameter({8});
  bias = parameter({8});
  const RunningStatistics in_double = {torch::zeros({8}, torch::kDouble), torch::ones({8}, torch::kDouble)};
  const RunningStatistics single = {torch::zeros({8}), torch::ones({8})};
  BatchNorm1d layer(weight, bias, in_double);
  BatchNorm1d float_layer(in_float(weight), in_float(bias), single);
  // Two sums over 16 rows, and some ten operations beside them.
  expect_float32_follows(layer, float_layer, 64);
  EXPECT_LE(relative_error(in_double.mean, single.mean), 64 * std::numeric_limits<float>::epsilon());
}

TEST_F(BatchNormTest, TheOraclesRejectStatisticsTakenForConstants) {
  // The most common mistake by hand: ∂L/∂x = h / √(σ² + ε) in training too.
  const Function f = reference(true);
  const Tensor x = random_input(6, 4);
  const Tensor grad_y = random_input(6, 4);
  const Tensor wrong = grad_y * weight.value / (x.var(0, /*unbiased=*/false) + 1e-5).sqrt();
  const Tensor right = autograd_gradients(f, {x, weight.value, bias.value}, grad_y)[0];
  EXPECT_GT(relative_error(right, wrong), 0.1);
}

// ---- LayerNorm
// ------------------------------------------------------------------------------------------------------

class LayerNormTest : public ::testing::Test {
 protected:
  void SetUp() override {
    torch::manual_seed(17);
    weight = parameter({4});
    bias = parameter({4});
  }
  static Tensor f(const Tensors& in) { return torch::layer_norm(in[0], {in[0].size(1)}, in[1], in[2]); }
  static Tensor without_parameters(const Tensors& in) { return torch::layer_norm(in[0], {in[0].size(1)}); }

  Parameter weight, bias;
};

TEST_F(LayerNormTest, MatchesBothOracles) {
  LayerNorm layer(weight, bias);
  for (const std::int64_t rows : {1, 6}) {
    expect_matches_oracles(layer, f, random_input(rows, 4), {weight, bias});
  }
}

TEST_F(LayerNormTest, MatchesBothOraclesWithAnotherEpsilon) {
  LayerNorm layer(weight, bias, 0.5);
  expect_matches_oracles(layer,
                         [](const Tensors& in) { return torch::layer_norm(in[0], {4}, in[1], in[2], 0.5); },
                         random_input(6, 4), {weight, bias});
}

TEST_F(LayerNormTest, MatchesBothOraclesWithoutWeightOrBias) {
  LayerNorm bare({}, {});
  expect_matches_oracles(bare, without_parameters, random_input(6, 4));
  LayerNorm without_bias(weight, {});
  expect_matches_oracles(without_bias, [](const Tensors& in) { return torch::layer_norm(in[0], {4}, in[1]); },
                         random_input(6, 4), {weight});
}

TEST_F(LayerNormTest, TakesInputsThatAreNotContiguous) {
  LayerNorm layer(weight, bias);
  expect_matches_oracles(layer, f, random_input(4, 6).t(), {weight, bias});
}

TEST_F(LayerNormTest, ConstantRowsGiveTheBias) {
  // x − μ is 0. LibTorch computes x/σ − μ/σ and is off by a rounding of |x|/√ε = 2,000, some 1e-12.
  for (const std::int64_t columns : {1, 4}) {
    const Tensor x = torch::full({2, columns}, 7, torch::kDouble);
    const Tensor grad_y = torch::randn_like(x);
    LayerNorm layer({}, {});
    EXPECT_TRUE(is_zero(layer.forward(x)));
    EXPECT_LE(difference(without_parameters({x}), layer.forward(x)).absolute, 1e-11);
    const Tensor expected = autograd_gradients(without_parameters, {x}, grad_y)[0];
    EXPECT_LE(difference(expected, layer.backward(grad_y)).absolute, 1e-11);
  }
}

TEST_F(LayerNormTest, NoRowsGiveGradientZero) {
  LayerNorm layer(weight, bias);
  EXPECT_EQ(layer.forward(random_input(0, 4)).sizes(), at::IntArrayRef({0, 4}));
  EXPECT_EQ(layer.backward(random_input(0, 4)).sizes(), at::IntArrayRef({0, 4}));
  EXPECT_TRUE(is_zero(weight.grad));
  EXPECT_TRUE(is_zero(bias.grad));
}

TEST_F(LayerNormTest, MatchesFarFromTheOrigin) {
  LayerNorm layer({}, {});
  // x − μ loses 1e4 · 1e-16 of a spread of 2, and the slope inherits it: 1e-11 is ten times that.
  expect_matches_autograd(layer, without_parameters, random_input(6, 4) + 1e4, 1e-11);
  expect_matches_autograd(layer, without_parameters, random_input(6, 4) * 1e4, kAutogradBound);
}

TEST_F(LayerNormTest, Float32FollowsFloat64) {
  weight = parameter({8});
  bias = parameter({8});
  LayerNorm layer(weight, bias);
  LayerNorm float_layer(in_float(weight), in_float(bias));
  expect_float32_follows(layer, float_layer, 64);  // two sums over 8 columns, and some ten operations
}

// ---- RMSNorm
// --------------------------------------------------------------------------------------------------------

/// LibTorch's C++ has none; Python's torch.nn.RMSNorm computes this expression.
Function rms_norm(double epsilon) {
  return [=](const Tensors& in) {
    const Tensor normalized = in[0] * torch::rsqrt(in[0].pow(2).mean(1, true) + epsilon);
    return in.size() > 1 ? normalized * in[1] : normalized;
  };
}

constexpr double kMachineEpsilon = std::numeric_limits<double>::epsilon();

class RMSNormTest : public ::testing::Test {
 protected:
  void SetUp() override {
    torch::manual_seed(19);
    weight = parameter({4});
  }
  Parameter weight;
};

TEST_F(RMSNormTest, MatchesBothOracles) {
  RMSNorm layer(weight);
  for (const std::int64_t rows : {1, 6}) {
    expect_matches_oracles(layer, rms_norm(kMachineEpsilon), random_input(rows, 4), {weight});
  }
  RMSNorm with_epsilon(weight, 0.5);
  expect_matches_oracles(with_epsilon, rms_norm(0.5), random_input(6, 4), {weight});
  RMSNorm bare({});
  expect_matches_oracles(bare, rms_norm(kMachineEpsilon), random_input(6, 4));
}

TEST_F(RMSNormTest, TakesInputsThatAreNotContiguous) {
  RMSNorm layer(weight);
  expect_matches_oracles(layer, rms_norm(kMachineEpsilon), random_input(4, 6).t(), {weight});
}

TEST_F(RMSNormTest, TakesOneColumn) {
  // With a small ε the slope is a difference of two equals.
  RMSNorm layer({}, 0.5);
  expect_matches_oracles(layer, rms_norm(0.5), torch::tensor({{2.0}, {-0.5}}, torch::kDouble));
}

TEST_F(RMSNormTest, NoRowsGiveGradientZero) {
  RMSNorm layer(weight);
  EXPECT_EQ(layer.forward(random_input(0, 4)).sizes(), at::IntArrayRef({0, 4}));
  EXPECT_EQ(layer.backward(random_input(0, 4)).sizes(), at::IntArrayRef({0, 4}));
  EXPECT_TRUE(is_zero(weight.grad));
}

TEST_F(RMSNormTest, MatchesAtZeroAndFarOut) {
  RMSNorm layer({});
  // At 0 the slope is 6.7e7 within 1.5e-8, no step of a central difference is small enough.
  expect_matches_autograd(layer, rms_norm(kMachineEpsilon), torch::zeros({2, 4}, torch::kDouble),
                          kAutogradBound);
  expect_matches_autograd(layer, rms_norm(kMachineEpsilon), random_input(6, 4) * 1e4, kAutogradBound);
}

TEST_F(RMSNormTest, TakesTheMachineEpsilonOfTheDtype) {
  RMSNorm layer({});
  layer.forward(torch::zeros({1, 4}));
  const Tensor slope = layer.backward(torch::ones({1, 4}));
  EXPECT_FLOAT_EQ(slope[0][0].item<float>(), 1 / std::sqrt(std::numeric_limits<float>::epsilon()));
  layer.forward(torch::zeros({1, 4}, torch::kDouble));
  EXPECT_DOUBLE_EQ(layer.backward(torch::ones({1, 4}, torch::kDouble))[0][0].item<double>(),
                   1 / std::sqrt(kMachineEpsilon));
}

TEST_F(RMSNormTest, Float32FollowsFloat64) {
  weight = parameter({8});
  RMSNorm layer(weight, 1e-5);
  RMSNorm float_layer(in_float(weight), 1e-5);
  expect_float32_follows(layer, float_layer, 64);  // a sum over 8 columns, and some ten operations
}

}  // namespace
}  // namespace twingrad
