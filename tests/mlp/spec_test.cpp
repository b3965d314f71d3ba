#include "twingrad/mlp/spec.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "twingrad/mlp/dropout_masks.h"
#include "twingrad/mlp/flat_parameters.h"
#include "twingrad/ops/matmul.h"

namespace twingrad {
namespace {

using at::Tensor;

std::vector<std::string> parameter_names(const MlpSpec& spec) {
  std::vector<std::string> names;
  for (const ParameterSpec& parameter : parameters_of(spec)) {
    names.push_back(parameter.name);
  }
  return names;
}

TEST(MlpSpec, NamesParametersAsTorchNnSequentialDoes) {
  EXPECT_EQ(parameter_names({.hidden = {8, 6}}),
            (std::vector<std::string>{"0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"}));
  EXPECT_EQ(parameter_names({.hidden = {}}), (std::vector<std::string>{"0.weight", "0.bias"}));
  EXPECT_EQ(parameter_names({.hidden = {8}, .bias = Bias::column_of_ones}),
            (std::vector<std::string>{"1.weight", "3.weight"}));
  EXPECT_EQ(parameter_names({.hidden = {8}, .bias = Bias::separate_layer}),
            (std::vector<std::string>{"0.weight", "1.bias", "3.weight", "4.bias"}));
  EXPECT_EQ(parameter_names({.hidden = {8}, .input_dropout = 0.2, .dropout = 0.5}),
            (std::vector<std::string>{"1.weight", "1.bias", "4.weight", "4.bias"}));
  EXPECT_EQ(
      parameter_names({.hidden = {8}, .normalization = Normalization::layer, .normalization_affine = false}),
      (std::vector<std::string>{"0.weight", "0.bias", "3.weight", "3.bias"}));
}

TEST(MlpSpec, AResidualBlockIsANestedSequential) {
  const MlpSpec spec{.inputs = 20, .hidden = {8, 8, 6}, .dropout = 0.5, .residual = true};
  EXPECT_EQ(parameter_names(spec), (std::vector<std::string>{"0.weight", "0.bias", "3.0.weight", "3.0.bias",
                                                             "4.weight", "4.bias", "7.weight", "7.bias"}));
  EXPECT_EQ(result_names(spec),
            (std::vector<std::string>{"0.output", "1.output", "2.output", "3.output", "4.output", "5.output",
                                      "6.output", "logits", "3.0.output", "3.1.output", "3.2.output"}));
  EXPECT_EQ(draw_dropout_masks(spec, 5, 1, 1).size(), 3) << "one of them inside the block";
  EXPECT_TRUE(has_residual_block(spec));
  EXPECT_FALSE(has_residual_block({.inputs = 20, .hidden = {8, 6}, .residual = true}))
      << "no layer preserves the width";
  EXPECT_TRUE(has_residual_block({.inputs = 20, .hidden = {20}, .residual = true}))
      << "the first layer preserves the width of the input";
}

TEST(MlpSpec, LaysOutParametersWithoutGaps) {
  const MlpSpec spec{.inputs = 5, .hidden = {4, 3}, .classes = 2};
  std::int64_t end = 0;
  for (const ParameterSpec& parameter : parameters_of(spec)) {
    EXPECT_EQ(parameter.offset, end);
    end += parameter.size;
  }
  EXPECT_EQ(end, 5 * 4 + 4 + 4 * 3 + 3 + 3 * 2 + 2);
  EXPECT_EQ(parameter_count(spec), end);
}

TEST(MlpSpec, DrawsUniformWeightsWithinOneOverRootInputs) {
  const MlpSpec spec{.inputs = 100, .hidden = {50}, .classes = 3};
  const Tensor drawn = draw_initial_parameters(spec, 1);
  const Tensor first = drawn.narrow(0, 0, 100 * 50 + 50);
  EXPECT_LE(first.abs().max().item<double>(), 0.1);
  EXPECT_GT(first.abs().max().item<double>(), 0.099);
  EXPECT_NEAR(first.mean().item<double>(), 0,
              0.005);  // of 5,050 draws with deviation 0.058: six standard errors
}

TEST(MlpSpec, DrawsNormalWeightsAndZeroBiases) {
  const MlpSpec spec{.inputs = 100, .hidden = {50}, .classes = 3, .initialization = Initialization::normal};
  const Tensor drawn = draw_initial_parameters(spec, 1);
  EXPECT_NEAR(drawn.narrow(0, 0, 5000).std().item<double>(), 1, 0.06);
  EXPECT_EQ(drawn.narrow(0, 5000, 50).abs().max().item<double>(), 0);
}

TEST(MlpSpec, TheSameSeedDrawsTheSameParameters) {
  EXPECT_TRUE(draw_initial_parameters({}, 4).equal(draw_initial_parameters({}, 4)));
  EXPECT_FALSE(draw_initial_parameters({}, 4).equal(draw_initial_parameters({}, 5)));
}

TEST(FlatParameters, ContainTheGivenValues) {
  for (const Bias bias : {Bias::every_layer, Bias::column_of_ones}) {
    const MlpSpec spec{.inputs = 5, .hidden = {4, 4}, .classes = 3, .bias = bias};
    const Tensor in_order = at::arange(parameter_count(spec), at::kFloat);
    const std::vector<NamedTensor> named = FlatParameters(spec, in_order, at::kFloat).named_values();
    const std::vector<ParameterSpec> specs = parameters_of(spec);
    for (std::size_t i = 0; i < specs.size(); ++i) {
      const Tensor expected = in_order.narrow(0, specs[i].offset, specs[i].size).view(specs[i].shape);
      EXPECT_TRUE(named[i].tensor.equal(expected)) << named[i].name;
    }
  }
}

TEST(FlatParameters, StoreAWeightInTheLayoutOfItsProduct) {
  const MlpSpec spec{.inputs = 5, .hidden = {4}, .classes = 3};
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const bool is_transposed = !ops::product_library(dtype).empty();
    const nn::Parameter weight = FlatParameters(spec, draw_initial_parameters(spec, 1), dtype).at("0.weight");
    EXPECT_EQ(weight.value.t().is_contiguous(), is_transposed);
    EXPECT_EQ(weight.grad.t().is_contiguous(), is_transposed);
  }
  const ops::LibTorchProductsGuard guard;
  EXPECT_TRUE(FlatParameters(spec, draw_initial_parameters(spec, 1), at::kFloat)
                  .at("0.weight")
                  .value.is_contiguous());
}

TEST(DropoutMasks, DependOnlyOnSeedAndStep) {
  const MlpSpec spec{
      .inputs = 401, .hidden = {400, 300}, .classes = 5, .input_dropout = 0.1, .dropout = 0.25};
  const std::vector<Tensor> masks = draw_dropout_masks(spec, 51, 1, 7);
  ASSERT_EQ(masks.size(), 3);
  EXPECT_EQ(masks[0].sizes(), at::IntArrayRef({51, 401}));
  EXPECT_EQ(masks[1].sizes(), at::IntArrayRef({51, 400}));
  EXPECT_EQ(masks[2].sizes(), at::IntArrayRef({51, 300}));
  for (std::size_t i = 0; i < masks.size(); ++i) {
    EXPECT_TRUE(masks[i].equal(draw_dropout_masks(spec, 51, 1, 7)[i]));
    EXPECT_FALSE(masks[i].equal(draw_dropout_masks(spec, 51, 1, 8)[i]));
    EXPECT_FALSE(masks[i].equal(draw_dropout_masks(spec, 51, 2, 7)[i]));
  }
}

/// The correlation coefficient of two masks of equal shape.
double correlation(const Tensor& one, const Tensor& other) {
  const Tensor a = one.to(at::kDouble) - one.to(at::kDouble).mean();
  const Tensor b = other.to(at::kDouble) - other.to(at::kDouble).mean();
  return ((a * b).mean() / (a.square().mean() * b.square().mean()).sqrt()).item<double>();
}

TEST(DropoutMasks, KeepTheRightFractionAndAreIndependent) {
  const MlpSpec spec{.inputs = 1000, .hidden = {1000}, .classes = 5, .input_dropout = 0.5, .dropout = 0.2};
  const std::vector<Tensor> masks = draw_dropout_masks(spec, 1000, 1, 7);
  // Five standard errors of a million draws.
  EXPECT_NEAR(masks[0].to(at::kDouble).mean().item<double>(), 0.5, 5 * 0.5e-3);
  EXPECT_NEAR(masks[1].to(at::kDouble).mean().item<double>(), 0.8, 5 * 0.4e-3);
  for (const Tensor& other :
       {masks[1], masks[0].roll(1, 1), masks[0].roll(2, 1), masks[0].roll(1, 0),
        draw_dropout_masks(spec, 1000, 1, 8)[0], draw_dropout_masks(spec, 1000, 2, 7)[0]}) {
    EXPECT_NEAR(correlation(masks[0], other), 0, 5e-3);
  }
}

}  // namespace
}  // namespace twingrad
