#include "twingrad/mlp/spec.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "twingrad/mlp/dropout_masks.h"
#include "twingrad/mlp/flat_parameters.h"
#include "twingrad/ops/matmul.h"
#include "twingrad/runtime/splitmix64.h"

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

/// "0.weight 6x5 of 5", the parameters with their shapes and the inputs of their layers.
std::vector<std::string> described_parameters(const MlpSpec& spec) {
  std::vector<std::string> described;
  for (const ParameterSpec& p : parameters_of(spec)) {
    const char* roles[] = {"weight", "bias", "scale", "shift"};
    described.push_back(fmt::format("{} {} of {}: {}", p.name, fmt::join(p.shape, "x"), p.inputs,
                                    roles[static_cast<std::size_t>(p.role)]));
  }
  return described;
}

TEST(MlpSpec, GivesEveryParameterItsShapeItsInputsAndItsRole) {
  using Parameters = std::vector<std::string>;
  MlpSpec spec = {.inputs = 5, .hidden = {4}, .classes = 3, .normalization = Normalization::layer};
  EXPECT_EQ(described_parameters(spec),
            (Parameters{"0.weight 4x5 of 5: weight", "0.bias 4 of 5: bias", "1.weight 4 of 4: scale",
                        "1.bias 4 of 4: shift", "3.weight 3x4 of 4: weight", "3.bias 3 of 4: bias"}));
  spec.normalization = Normalization::rms;
  EXPECT_EQ(described_parameters(spec),
            (Parameters{"0.weight 4x5 of 5: weight", "0.bias 4 of 5: bias", "1.weight 4 of 4: scale",
                        "3.weight 3x4 of 4: weight", "3.bias 3 of 4: bias"}));
  spec.normalization = Normalization::batch;  // a bias before it would have no effect
  EXPECT_EQ(described_parameters(spec),
            (Parameters{"0.weight 4x5 of 5: weight", "1.weight 4 of 4: scale", "1.bias 4 of 4: shift",
                        "3.weight 3x4 of 4: weight", "3.bias 3 of 4: bias"}));
  spec.bias = Bias::separate_layer;
  EXPECT_EQ(described_parameters(spec),
            (Parameters{"0.weight 5x4 of 5: weight", "1.weight 4 of 4: scale", "1.bias 4 of 4: shift",
                        "3.weight 4x3 of 4: weight", "4.bias 3 of 4: bias"}));
  spec.normalization = Normalization::none;
  EXPECT_EQ(described_parameters(spec), (Parameters{"0.weight 5x4 of 5: weight", "1.bias 4 of 5: bias",
                                                    "3.weight 4x3 of 4: weight", "4.bias 3 of 4: bias"}));
  spec.bias = Bias::column_of_ones;
  spec.input_dropout = 0.1;
  EXPECT_EQ(described_parameters(spec),
            (Parameters{"2.weight 6x4 of 6: weight", "4.weight 4x3 of 4: weight"}));
}

/// "5 dropout 4>4 0.2": the layers with their widths, those inside residual blocks too.
std::vector<std::string> described_layers(const MlpSpec& spec) {
  const std::vector<std::string> kinds = {
      "linear",     "matmul",  "add_bias", "append_ones", "batch_norm", "layer_norm",  "rms_norm",
      "activation", "dropout", "softmax",  "exercise",    "log",        "log_softmax", "residual"};
  std::vector<std::string> described;
  for (const LayerSpec& layer : flat_layers_of(spec)) {
    described.push_back(fmt::format("{} {} {}>{}{}{}", layer.name,
                                    kinds[static_cast<std::size_t>(layer.kind)], layer.inputs, layer.outputs,
                                    layer.has_bias ? "" : " without bias",
                                    layer.dropped > 0 ? fmt::format(" {}", layer.dropped) : ""));
  }
  return described;
}

TEST(MlpSpec, BuildsTheLayersThatTheOptionsName) {
  using Layers = std::vector<std::string>;
  MlpSpec spec = {.inputs = 5, .hidden = {4, 4}, .classes = 3, .bias = Bias::separate_layer};
  spec.loss = LossKind::softmax_log;
  spec.normalization = Normalization::layer;
  spec.input_dropout = 0.1;
  spec.dropout = 0.2;
  spec.residual = true;
  EXPECT_EQ(described_layers(spec),
            (Layers{"0 dropout 5>5 0.1", "1 matmul 5>4", "2 add_bias 5>4", "3 layer_norm 4>4",
                    "4 activation 4>4", "5 dropout 4>4 0.2", "6 residual 4>4", "6.0 matmul 4>4",
                    "6.1 add_bias 4>4", "6.2 layer_norm 4>4", "6.3 activation 4>4", "6.4 dropout 4>4 0.2",
                    "7 matmul 4>3", "8 add_bias 4>3", "9 softmax 3>3", "10 log 3>3"}));
  spec = {.inputs = 5, .hidden = {4, 4}, .classes = 3, .bias = Bias::column_of_ones};
  spec.loss = LossKind::exercise_softmax_log;
  spec.normalization = Normalization::batch;
  spec.residual = true;
  EXPECT_EQ(described_layers(spec),
            (Layers{"0 append_ones 5>6", "1 matmul 6>4", "2 batch_norm 4>4", "3 activation 4>4",
                    "4 residual 4>4", "4.0 matmul 4>4", "4.1 batch_norm 4>4", "4.2 activation 4>4",
                    "5 matmul 4>3", "6 exercise 3>3", "7 log 3>3"}));
  spec = {
      .inputs = 5, .hidden = {4}, .classes = 3, .loss = LossKind::nll, .normalization = Normalization::batch};
  EXPECT_EQ(described_layers(spec), (Layers{"0 linear 5>4 without bias", "1 batch_norm 4>4",
                                            "2 activation 4>4", "3 linear 4>3", "4 log_softmax 3>3"}));
  spec.normalization = Normalization::rms;
  EXPECT_EQ(described_layers(spec), (Layers{"0 linear 5>4", "1 rms_norm 4>4", "2 activation 4>4",
                                            "3 linear 4>3", "4 log_softmax 3>3"}));
}

TEST(MlpSpec, NamesTheLogitsAndTheFirstLayerThatLearns) {
  MlpSpec spec = {.inputs = 5, .hidden = {4}, .classes = 3};
  for (const auto& [loss, after] :
       {std::pair(LossKind::mse, 0U), {LossKind::nll, 1U}, {LossKind::softmax_log, 2U}}) {
    spec.loss = loss;
    EXPECT_EQ(logits_index(spec), 2U);
    EXPECT_EQ(layers_of(spec).size(), 3U + after);
    EXPECT_EQ(result_names(spec)[2], "logits");
  }
  EXPECT_EQ(first_learning_layer(spec), 0U);
  spec.input_dropout = 0.01;
  EXPECT_EQ(first_learning_layer(spec), 1U);
  spec.bias = Bias::column_of_ones;
  EXPECT_EQ(first_learning_layer(spec), 2U);
  spec.input_dropout = 0;
  EXPECT_EQ(first_learning_layer(spec), 1U);
  EXPECT_EQ(describe_widths(spec), "5-4-3");
  EXPECT_EQ(describe_widths({.inputs = 7, .hidden = {}, .classes = 2}), "7-2");
}

TEST(MlpSpec, AResidualBlockNeedsALayerWithEqualWidths) {
  const auto blocks = [](const MlpSpec& spec) {
    std::string kinds;
    for (const LayerSpec& layer : layers_of(spec)) {
      kinds += layer.kind == LayerSpec::Kind::residual ? fmt::format("[{}]", layer.branch.size()) : ".";
    }
    return kinds;
  };
  MlpSpec spec = {.inputs = 6, .hidden = {8, 6, 6}, .classes = 6, .residual = true};
  EXPECT_EQ(blocks(spec), "....[2].")
      << "6 inputs and 6 outputs in the third layer alone, and no block of the logits";
  spec.residual = false;
  EXPECT_EQ(blocks(spec), ".......");
  spec = {.inputs = 6, .hidden = {6, 7}, .classes = 3, .bias = Bias::column_of_ones, .residual = true};
  EXPECT_EQ(blocks(spec), "......") << "with the ones, the first layer has 7 inputs";
  spec.hidden = {7, 7};
  EXPECT_EQ(blocks(spec), ".[2][2].");
}

TEST(MlpSpec, MayBeSplitUnlessRowsDependOnEachOther) {
  const auto work_of_change = [](const std::function<void(MlpSpec&)>& change) {
    MlpSpec spec = {.inputs = 5, .hidden = {4}, .classes = 3};
    change(spec);
    EXPECT_EQ(work_of(spec, 7).shardable, can_be_sharded(spec));
    return can_be_sharded(spec);
  };
  EXPECT_TRUE(work_of_change([](MlpSpec&) {}));
  EXPECT_TRUE(work_of_change([](MlpSpec& s) { s.normalization = Normalization::layer; }));
  EXPECT_TRUE(work_of_change([](MlpSpec& s) { s.normalization = Normalization::rms; }));
  EXPECT_FALSE(work_of_change([](MlpSpec& s) { s.normalization = Normalization::batch; }));
  for (const LossKind loss : {LossKind::cross_entropy, LossKind::nll}) {
    EXPECT_FALSE(work_of_change([=](MlpSpec& s) {
      s.loss = loss;
      s.ignore_index = 1;
    }));
    EXPECT_FALSE(work_of_change([=](MlpSpec& s) {
      s.loss = loss;
      s.class_weights = {1, 2, 3};
    }));
  }
  for (const LossKind loss : {LossKind::class_probabilities, LossKind::bce_with_logits}) {
    EXPECT_TRUE(work_of_change([=](MlpSpec& s) {
      s.loss = loss;
      s.class_weights = {1, 2, 3};
    }));
  }
  const StepWork work = work_of({.inputs = 5, .hidden = {4}, .classes = 3}, 7, at::kDouble);
  EXPECT_EQ(std::tuple(work.rows, work.parameters, work.float32), std::tuple(7, 24 + 15, false));
  EXPECT_TRUE(work_of({}, 7).float32);
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

TEST(MlpSpec, DrawsEveryParameterFromTheDistributionOfItsRole) {
  for (const Initialization initialization : {Initialization::uniform, Initialization::normal}) {
    MlpSpec spec = {.inputs = 400, .hidden = {900}, .classes = 600, .initialization = initialization};
    spec.normalization = Normalization::layer;
    const Tensor drawn = draw_initial_parameters(spec, 1);
    EXPECT_EQ(drawn.scalar_type(), at::kDouble);
    for (const ParameterSpec& p : parameters_of(spec)) {
      SCOPED_TRACE(p.name);
      const Tensor values = drawn.narrow(0, p.offset, p.size);
      const double largest = values.abs().max().item<double>();
      const double mean = values.mean().item<double>();
      const bool is_drawn =
          p.role == ParameterSpec::Role::weight ||
          (p.role == ParameterSpec::Role::bias && initialization == Initialization::uniform);
      if (!is_drawn) {
        EXPECT_TRUE(values.eq(p.role == ParameterSpec::Role::scale ? 1 : 0).all().item<bool>());
        continue;
      }
      // Five standard errors of the mean and of the standard deviation.
      const double bound = 1 / std::sqrt(static_cast<double>(p.inputs));
      const double deviation = initialization == Initialization::uniform ? bound / std::sqrt(3) : 1;
      const double error = 5 * deviation / std::sqrt(static_cast<double>(p.size));
      EXPECT_NEAR(mean, 0, error);
      EXPECT_NEAR(values.std().item<double>(), deviation, error);
      if (initialization == Initialization::uniform) {
        EXPECT_LE(largest, bound);
        EXPECT_GT(largest, 0.98 * bound);
      }
    }
  }
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

TEST(FlatParameters, AreViewsOfTwoVectorsThatShardsShare) {
  const MlpSpec spec = {.inputs = 5, .hidden = {4}, .classes = 3, .normalization = Normalization::rms};
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    FlatParameters one(spec, draw_initial_parameters(spec, 1), dtype);
    EXPECT_EQ(one.size(), parameter_count(spec));
    EXPECT_EQ(one.gradients().abs().max().item<double>(), 0);
    FlatParameters other = one.with_separate_gradients();
    one.gradients().fill_(1);
    one.values().fill_(2);
    for (const ParameterSpec& p : parameters_of(spec)) {
      const nn::Parameter parameter = one.at(p.name);
      EXPECT_EQ(parameter.value.sizes(), at::IntArrayRef(p.shape));
      EXPECT_EQ(parameter.grad.sizes(), at::IntArrayRef(p.shape));
      EXPECT_TRUE(parameter.grad.eq(1).all().item<bool>() && parameter.value.eq(2).all().item<bool>())
          << p.name;
      EXPECT_TRUE(other.at(p.name).grad.eq(0).all().item<bool>()) << "gradients of its own";
      EXPECT_TRUE(other.at(p.name).value.eq(2).all().item<bool>()) << "the same values";
      EXPECT_EQ(parameter.value.storage_offset(), p.offset);
    }
    EXPECT_THROW(one.at("0.weights"), std::out_of_range);
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

TEST(DropoutMasks, KeepAnEntryIfItsBitsAreBelowTheFraction) {
  for (const std::int64_t rows : {0, 1, 2, 3}) {
    for (const std::int64_t inputs : {1, 5, 6}) {
      const MlpSpec spec = {
          .inputs = inputs, .hidden = {7}, .classes = 2, .input_dropout = 0.25, .dropout = 0.6};
      const std::vector<Tensor> masks = draw_dropout_masks(spec, rows, 11, 13);
      ASSERT_EQ(masks.size(), 2U);
      for (std::uint64_t layer = 0; layer < 2; ++layer) {
        const std::uint64_t seed = SplitMix64::number(SplitMix64::number(11, 13), layer);
        const Tensor entries = masks[layer].reshape({-1});
        for (std::int64_t i = 0; i < entries.numel(); ++i) {
          const std::uint64_t both = SplitMix64::number(seed, static_cast<std::uint64_t>(i / 2));
          const auto bits = static_cast<std::uint32_t>(i % 2 == 0 ? both : both >> 32);
          EXPECT_EQ(entries[i].item<bool>(), bits * 0x1p-32 < (layer == 0 ? 0.75 : 0.4)) << i;
        }
      }
    }
  }
  EXPECT_TRUE(draw_dropout_masks({}, 3, 1, 1).empty());
  EXPECT_EQ(draw_dropout_masks({.input_dropout = 0.5}, 3, 1, 1).size(), 1U);
  EXPECT_EQ(draw_dropout_masks({.dropout = 0.5}, 3, 1, 1).size(), 1U);
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
