#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/batchnorm.h>

#include <cmath>
#include <limits>

#include "../catalogue/expect_agreement.h"
#include "../support/random_cases.h"
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

// ---- Any part of the parameters and buffers ----

/// Which parameters and buffers a normalization has.
struct Parts {
  bool scale, shift, statistics, evaluates;

  std::size_t parameters() const { return (scale ? 1U : 0U) + (shift ? 1U : 0U); }
  /// The first parameters are the scale and the shift, if there are any.
  template <typename Element>
  Element scale_in(const std::vector<Element>& all, std::size_t first) const {
    return scale ? all[first] : Element{};
  }
  template <typename Element>
  Element shift_in(const std::vector<Element>& all, std::size_t first) const {
    return shift ? all[first + (scale ? 1U : 0U)] : Element{};
  }
};

constexpr Parts kPlain = {false, false, false, false};
constexpr Parts kAffine = {true, true, false, false};

Tensors inputs_for(const Parts& parts, std::int64_t rows, std::int64_t columns) {
  Tensors inputs = {draw({rows, columns}, 2)};
  for (std::size_t i = 0; i < parts.parameters(); ++i) {
    inputs.push_back(draw({columns}) + 1);
  }
  return inputs;
}

/// Statistics have other values than they start with.
RunningStatistics statistics_for(const Parts& parts, std::int64_t columns) {
  return parts.statistics ? RunningStatistics{draw({columns}), draw({columns}).abs() + 0.5}
                          : RunningStatistics{};
}

FunctionEntry batch_norm_with(const Parts& parts, const Tensors& inputs, const RunningStatistics& running,
                              double eps) {
  const auto copy_of = [](const RunningStatistics& r) {
    return r.mean.defined() ? RunningStatistics{r.mean.clone(), r.variance.clone()} : r;
  };
  const auto make = [=](const std::vector<Parameter>& p) {
    auto layer = std::make_unique<BatchNorm1d>(parts.scale_in(p, 0), parts.shift_in(p, 0), copy_of(running),
                                               BatchNorm1dOptions{.eps = eps});
    layer->train(!parts.evaluates);
    return layer;
  };
  const auto reference = [=](const Tensors& in) {
    const RunningStatistics theirs = copy_of(running);
    return at::batch_norm(in[0], parts.scale_in(in, 1), parts.shift_in(in, 1), theirs.mean, theirs.variance,
                          !parts.evaluates || !parts.statistics, 0.1, eps, false);
  };
  return {.name = "batch_norm",
          .make = [=] { return catalogue::of_layer(make); },
          .reference = reference,
          .cases = {{"given", inputs}}};
}

FunctionEntry layer_norm_with(const Parts& parts, const Tensors& inputs, double eps) {
  const auto make = [=](const std::vector<Parameter>& p) {
    return std::make_unique<LayerNorm>(parts.scale_in(p, 0), parts.shift_in(p, 0), eps);
  };
  const auto reference = [=](const Tensors& in) {
    return at::layer_norm(in[0], {in[0].size(1)}, parts.scale_in(in, 1), parts.shift_in(in, 1), eps, false);
  };
  return {.name = "layer_norm",
          .make = [=] { return catalogue::of_layer(make); },
          .reference = reference,
          .cases = {{"given", inputs}}};
}

TEST(Normalization, AgreesWithAnyPartOfItsParametersAndBuffers) {
  testing::for_random_cases(48, [](testing::RandomCase& random) {
    const Parts parts = {random.chance(), random.chance(), random.chance(), random.chance()};
    SCOPED_TRACE(::testing::Message()
                 << "scale " << parts.scale << ", shift " << parts.shift << ", statistics "
                 << parts.statistics << ", evaluation " << parts.evaluates);
    // At least three rows and columns: with fewer, the gradient is only rounding error (see the catalogue).
    const std::int64_t rows = random.integer(3, 7);
    const std::int64_t columns = random.integer(3, 7);
    const double eps = random.one_of({1e-5, 0.5});
    const Tensors inputs = inputs_for(parts, rows, columns);
    catalogue::expect_agreement(batch_norm_with(parts, inputs, statistics_for(parts, columns), eps));
    catalogue::expect_agreement(layer_norm_with(parts, inputs, eps));
  });
}

// ---- BatchNorm1d ----

class BatchNormTest : public ::testing::Test {
 protected:
  Parameter weight = with_gradient(draw({4}));
  Parameter bias = with_gradient(draw({4}));
  RunningStatistics statistics = {draw({4}), draw({4}).abs() + 0.5};
};

TEST_F(BatchNormTest, AgreesForTwoRowsWithALargeEpsilon) {
  // With a small ε two rows become ±1, and ∂L/∂x is a difference of two equal terms.
  EXPECT_LE(autograd_error(batch_norm_with(kAffine, affine_inputs(2), {}, 0.5)), 1e-13);
}

TEST_F(BatchNormTest, AgreesFarFromTheOrigin) {
  Tensors inputs = affine_inputs(6);
  inputs[0].add_(1e4);
  EXPECT_LE(autograd_error(batch_norm_with(kAffine, inputs, {}, 1e-5)), kFarFromTheOrigin);
}

/// LibTorch's module with the same weight, bias and momentum. Its running statistics start at 0 and 1.
torch::nn::BatchNorm1d torch_module(const Parameter& weight, const Parameter& bias,
                                    std::optional<double> momentum) {
  torch::nn::BatchNorm1dOptions options(4);
  options.momentum(c10::nullopt);
  if (momentum) {                 // LibTorch 1.13 has an optional of its own
    options.momentum(*momentum);  // NOLINT(bugprone-optional-value-conversion)
  }
  torch::nn::BatchNorm1d module(options);
  module->to(at::kDouble);
  const c10::NoGradGuard no_grad;
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
  EXPECT_EQ(layer.statistics().batches, 1) << "but it counts, as in LibTorch";
}

TEST_F(BatchNormTest, AConstantColumnGivesTheBias) {
  const Tensor x = draw({6, 4});
  x.select(1, 2).fill_(7);
  BatchNorm1d layer(weight, bias, statistics);
  EXPECT_TRUE(layer.forward(x).select(1, 2).eq(bias.value[2]).all().item<bool>());
}

// ---- LayerNorm, RMSNorm ----

TEST(LayerNorm, AgreesFarFromTheOrigin) {
  EXPECT_LE(autograd_error(layer_norm_with(kPlain, {draw({6, 4}, 2) + 1e4}, 1e-5)), kFarFromTheOrigin);
}

TEST(LayerNorm, ConstantRowsGiveZero) {
  // x − μ is 0. LibTorch computes x/σ − μ/σ, with a rounding error of |x|/√ε = 2,000, about 1e-12.
  for (const std::int64_t columns : {1, 4}) {
    const Tensor x = at::full({2, columns}, 7, at::kDouble);
    const Tensor grad_y = draw({2, columns});
    const FunctionEntry entry = layer_norm_with(kPlain, {x}, 1e-5);
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
