#include <fmt/format.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <functional>

#include "../oracles.h"
#include "twingrad/layers/activations.h"
#include "twingrad/mlp/autograd_twin.h"
#include "twingrad/mlp/dropout_masks.h"
#include "twingrad/mlp/manual_twin.h"
#include "twingrad/mlp/training_loss.h"
#include "twingrad/ops/matmul.h"
#include "twingrad/runtime/fields.h"

namespace twingrad {
namespace {

using at::Tensor;

using testing::relative_error;

// ---- The specification
// ---------------------------------------------------------------------------------------------

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
  EXPECT_EQ(parameter_names({.hidden = {8}, .bias = Bias::layer_of_its_own}),
            (std::vector<std::string>{"0.weight", "1.bias", "3.weight", "4.bias"}));
  EXPECT_EQ(parameter_names({.hidden = {8}, .input_dropout = 0.2, .dropout = 0.5}),
            (std::vector<std::string>{"1.weight", "1.bias", "4.weight", "4.bias"}));
  EXPECT_EQ(
      parameter_names({.hidden = {8}, .normalization = Normalization::layer, .normalization_affine = false}),
      (std::vector<std::string>{"0.weight", "0.bias", "3.weight", "3.bias"}));
}

TEST(FlatParameters, AreThoseThatCameIn) {
  for (const Bias bias : {Bias::every_layer, Bias::column_of_ones}) {
    const MlpSpec spec{.inputs = 5, .hidden = {4, 4}, .classes = 3, .bias = bias};
    const Tensor in_order = torch::arange(parameter_count(spec), torch::kFloat);
    FlatParameters parameters(spec, in_order, torch::kFloat);
    const std::vector<NamedTensor> named = parameters.named_values();
    const std::vector<ParameterSpec> specs = parameters_of(spec);
    for (std::size_t i = 0; i < specs.size(); ++i) {
      const Tensor expected = in_order.narrow(0, specs[i].offset, specs[i].size).view(specs[i].shape);
      EXPECT_TRUE(named[i].tensor.equal(expected)) << named[i].name;
    }
  }
}

TEST(FlatParameters, AWeightLiesAsItsProductReadsIt) {
  const MlpSpec spec{.inputs = 5, .hidden = {4}, .classes = 3};
  for (const at::ScalarType dtype : {torch::kFloat, torch::kDouble}) {
    const bool is_transposed = !ops::product_library(dtype).empty();
    const nn::Parameter weight = FlatParameters(spec, draw_initial_parameters(spec, 1), dtype).at("0.weight");
    EXPECT_EQ(weight.value.t().is_contiguous(), is_transposed);
    EXPECT_EQ(weight.grad.t().is_contiguous(), is_transposed);
  }
  const ops::LibTorchProductsGuard guard;
  EXPECT_TRUE(FlatParameters(spec, draw_initial_parameters(spec, 1), torch::kFloat)
                  .at("0.weight")
                  .value.is_contiguous());
}

TEST(LibTorchProductsGuard, GiveBothTwinsTheSameBitsInTheFirstLayer) {
  const ops::LibTorchProductsGuard guard;
  const MlpSpec spec{.inputs = 784, .hidden = {128}};
  const Tensor images = torch::rand({1000, 784});
  const Tensor labels = torch::randint(10, {1000}, torch::kLong);
  const Tensor initial = draw_initial_parameters(spec, 1);
  AutogradTwin autograd(spec, {}, initial, torch::kFloat);
  ManualTwin manual(spec, {}, initial, torch::kFloat);
  autograd.keep_intermediate_gradients(true);
  autograd.forward(images, labels);
  manual.forward(images, labels);
  EXPECT_TRUE(autograd.intermediates()[0].tensor.equal(manual.intermediates()[0].tensor))
      << "otherwise an input of a ReLU may be on the other side of 0";
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
  EXPECT_FALSE(has_residual_block({.inputs = 20, .hidden = {8, 6}, .residual = true})) << "no width stays";
  EXPECT_TRUE(has_residual_block({.inputs = 20, .hidden = {20}, .residual = true}))
      << "that of the input does";
}

TEST(MlpSpec, LaysParametersOutWithoutHoles) {
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

TEST(MlpSpec, DrawsTheSameFromTheSameSeedAlone) {
  EXPECT_TRUE(draw_initial_parameters({}, 4).equal(draw_initial_parameters({}, 4)));
  EXPECT_FALSE(draw_initial_parameters({}, 4).equal(draw_initial_parameters({}, 5)));
}

// ---- The twin contract
// ---------------------------------------------------------------------------------------------

struct Twins {
  Twins(const MlpSpec& spec, const OptimizerOptions& optimizer, at::ScalarType dtype)
      : initial(draw_initial_parameters(spec, 2)),
        autograd(spec, optimizer, initial, at::TensorOptions().dtype(dtype)),
        manual(spec, optimizer, initial, at::TensorOptions().dtype(dtype)) {
    autograd.keep_intermediate_gradients(true);
  }

  /// One step of both on the same random batch.
  void step(const MlpSpec& spec, at::ScalarType dtype, std::int64_t rows = 24) {
    const Tensor images = torch::rand({rows, spec.inputs}, dtype);
    const Tensor labels = torch::randint(0, spec.classes, {rows}, torch::kLong);
    const std::vector<Tensor> masks = draw_dropout_masks(spec, rows, 1, rows);
    for (Twin* twin : {static_cast<Twin*>(&autograd), static_cast<Twin*>(&manual)}) {
      twin->set_dropout_masks(masks);
      (twin == &autograd ? autograd_loss : manual_loss) = twin->forward(images, labels);
      twin->backward();
    }
    compare_gradients(autograd, manual, agreement);
    autograd.update();
    manual.update();
    compare_weights(autograd, manual, agreement);
  }

  Tensor initial;
  AutogradTwin autograd;
  ManualTwin manual;
  double autograd_loss = 0;
  double manual_loss = 0;
  Agreement agreement;
};

class TwinsTest : public ::testing::Test {
 protected:
  void SetUp() override { torch::manual_seed(13); }
};

void expect_agreement(const MlpSpec& spec, const OptimizerOptions& optimizer = {}) {
  for (const at::ScalarType dtype : {torch::kDouble, torch::kFloat}) {
    Twins twins(spec, optimizer, dtype);
    twins.step(spec, dtype);
    const double bound = agreement_bound(spec, dtype, twins.autograd.logits().abs().max().item<double>());
    EXPECT_LE(twins.agreement.max_rel_gradient_difference, bound) << twins.agreement.worst << " " << dtype;
    EXPECT_LE(std::abs(twins.autograd_loss - twins.manual_loss) / twins.autograd_loss, bound);
    for (int i = 0; i < 20; ++i) {
      twins.step(spec, dtype, 10 + i);  // batch sizes change: buffers are resized
    }
    if (dtype == torch::kDouble) {
      EXPECT_LE(twins.agreement.max_abs_weight_difference, 1e-12);
    }
  }
}

TEST_F(TwinsTest, AgreeForEveryActivation) {
  for (const nn::ActivationEntry& entry : nn::activations()) {
    SCOPED_TRACE(entry.name);
    expect_agreement({.inputs = 20, .hidden = {16, 12}, .classes = 5, .activation = entry.name});
  }
}

TEST_F(TwinsTest, AgreeForEveryLossReductionBiasAndInitialization) {
  for (const LossEntry& loss : losses()) {
    SCOPED_TRACE(loss.name);
    for (const nn::Reduction reduction : {nn::Reduction::mean, nn::Reduction::sum}) {
      for (const Bias bias : {Bias::every_layer, Bias::column_of_ones}) {
        for (const Initialization initialization : {Initialization::uniform, Initialization::normal}) {
          expect_agreement({.inputs = 8,
                            .hidden = {6},
                            .classes = 4,
                            .bias = bias,
                            .loss = loss.kind,
                            .reduction = reduction,
                            .initialization = initialization});
        }
      }
    }
  }
}

TEST_F(TwinsTest, AgreeForEveryNormalizationWithDropoutAndLabelSmoothing) {
  for (const Normalization normalization :
       {Normalization::none, Normalization::batch, Normalization::layer, Normalization::rms}) {
    SCOPED_TRACE(static_cast<int>(normalization));
    expect_agreement({.inputs = 20, .hidden = {16, 12}, .classes = 5, .normalization = normalization});
    expect_agreement({.inputs = 20,
                      .hidden = {16, 12},
                      .classes = 5,
                      .activation = "tanh",
                      .normalization = normalization,
                      .dropout = 0.3,
                      .label_smoothing = 0.1});
  }
}

/// A variant and what it is compared with: the same without the option.
struct Variant {
  std::string name;
  MlpSpec spec;
  MlpSpec plain;
};

/// Every option of the network that neither a loop over names nor a test above covers.
std::vector<Variant> variants() {
  const MlpSpec base{.inputs = 12, .hidden = {10, 10}, .classes = 4};
  std::vector<Variant> all;
  const auto add = [&](const std::string& name, const std::function<void(MlpSpec&)>& common,
                       const std::function<void(MlpSpec&)>& change) {
    Variant variant{name, base, base};
    common(variant.spec);
    common(variant.plain);
    change(variant.spec);
    all.push_back(variant);
  };
  const auto nothing = [](MlpSpec&) {};
  const auto of = [](LossKind kind) { return [=](MlpSpec& spec) { spec.loss = kind; }; };
  for (const LossEntry& entry : losses()) {
    if (entry.is_entrywise) {  // the other losses are the cross-entropy in other words
      add(entry.name, nothing, of(entry.kind));
    }
    add(entry.name + " sum", of(entry.kind), [](MlpSpec& spec) { spec.reduction = nn::Reduction::sum; });
    const auto add_option = [&](const std::string& option, const std::string& name,
                                const std::function<void(MlpSpec&)>& change) {
      if (loss_fields().at(option).belongs_to(entry.name)) {
        add(entry.name + name, of(entry.kind), change);
        add(
            entry.name + " sum" + name,
            [=](MlpSpec& spec) {
              spec.loss = entry.kind;
              spec.reduction = nn::Reduction::sum;
            },
            change);
      }
    };
    add_option("--label-smoothing", " label_smoothing", [](MlpSpec& spec) { spec.label_smoothing = 0.1; });
    add_option("--class-weights", " class_weights", [](MlpSpec& spec) {
      spec.class_weights = {0.5, 2, 1, 3};
    });
    add_option("--ignore-index", " ignore_index", [](MlpSpec& spec) { spec.ignore_index = 2; });
    add_option("--positive-weights", " positive_weights", [](MlpSpec& spec) {
      spec.positive_weights = {0.5, 2, 1, 3};
    });
    add_option("--smooth-l1-beta", " beta", [](MlpSpec& spec) { spec.smooth_l1_beta = 0.3; });
    add_option("--huber-delta", " delta", [](MlpSpec& spec) { spec.huber_delta = 0.3; });
  }
  add("kl_divergence batch_mean", of(LossKind::kl_divergence), [](MlpSpec& spec) { spec.batch_mean = true; });
  add("cross_entropy, all options", nothing, [](MlpSpec& spec) {
    spec.label_smoothing = 0.1;
    spec.class_weights = {0.5, 2, 1, 3};
    spec.ignore_index = 2;
  });
  const auto input_dropout = [](MlpSpec& spec) { spec.input_dropout = 0.3; };
  add("input dropout", nothing, input_dropout);
  add(
      "input dropout, a column of ones", [](MlpSpec& spec) { spec.bias = Bias::column_of_ones; },
      input_dropout);
  const auto residual = [](MlpSpec& spec) { spec.residual = true; };
  add("residual", nothing, residual);
  add(
      "residual from the input on", [](MlpSpec& spec) { spec.inputs = 10; }, residual);
  add(
      "residual, a column of ones", [](MlpSpec& spec) { spec.bias = Bias::column_of_ones; }, residual);
  add(
      "residual, bias of its own", [](MlpSpec& spec) { spec.bias = Bias::layer_of_its_own; }, residual);
  for (const Normalization normalization : {Normalization::batch, Normalization::layer, Normalization::rms}) {
    const auto normalize = [=](MlpSpec& spec) {
      spec.normalization = normalization;
      spec.dropout = 0.2;
    };
    const std::string name = fmt::format("normalization {}", static_cast<int>(normalization));
    add(name + ", residual", normalize, residual);
  }
  return all;
}

TEST_F(TwinsTest, AgreeForEveryVariant) {
  for (const Variant& variant : variants()) {
    SCOPED_TRACE(variant.name);
    expect_agreement(variant.spec);
  }
}

/// All gradients of parameters that a step of the manual twin computes, as one vector.
Tensor gradient_of(const MlpSpec& spec) {
  torch::manual_seed(3);
  ManualTwin twin(spec, {}, draw_initial_parameters(spec, 2), torch::kDouble);
  const Tensor images = torch::rand({24, spec.inputs}, torch::kDouble);
  const Tensor labels = torch::arange(24, torch::kLong).remainder(spec.classes);
  twin.set_dropout_masks(draw_dropout_masks(spec, 24, 1, 1));
  twin.forward(images, labels);
  twin.backward();
  std::vector<Tensor> flat;
  for (const ParameterSpec& parameter : parameters_of(spec)) {
    for (const NamedTensor& gradient : twin.gradients()) {
      if (gradient.name == parameter.name) {
        flat.push_back(gradient.tensor.reshape({-1}));
      }
    }
  }
  return torch::cat(flat);
}

TEST_F(TwinsTest, EveryVariantChangesTheGradient) {
  for (const Variant& variant : variants()) {
    SCOPED_TRACE(variant.name);
    EXPECT_GT(relative_error(gradient_of(variant.plain), gradient_of(variant.spec)), 1e-3);
  }
}

TEST_F(TwinsTest, AgreeWithoutWhatANormalizationLearnsAndWithABiasOfItsOwn) {
  MlpSpec spec{.inputs = 12, .hidden = {10, 9}, .classes = 4, .bias = Bias::layer_of_its_own};
  expect_agreement(spec);
  spec.normalization_affine = false;
  for (const Normalization normalization : {Normalization::batch, Normalization::layer, Normalization::rms}) {
    spec.normalization = normalization;
    expect_agreement(spec);
  }
}

TEST_F(TwinsTest, LogarithmsOfSmoothLabelsGiveTheSameDivergence) {
  MlpSpec spec{
      .inputs = 12, .hidden = {10}, .classes = 4, .loss = LossKind::kl_divergence, .label_smoothing = 0.1};
  const Tensor from_probabilities = gradient_of(spec);
  spec.log_target = true;
  expect_agreement(spec);
  // exp(log t) is t up to rounding.
  EXPECT_LE(relative_error(from_probabilities, gradient_of(spec)), 1e-13);
}

/// The loss of the logits in the words of LibTorch, from labels made by one_hot: not by what both twins share.
double loss_in_other_words(const MlpSpec& spec, const Tensor& logits, const Tensor& labels) {
  const Tensor row = torch::one_hot(labels, spec.classes).to(torch::kDouble);
  const Tensor smooth =
      row * (1 - spec.label_smoothing) + spec.label_smoothing / static_cast<double>(spec.classes);
  const auto weights = [](const std::vector<double>& values) {
    return values.empty() ? Tensor() : torch::tensor(values, torch::kDouble);
  };
  const Tensor p = logits.softmax(1);
  const Tensor weight = weights(spec.class_weights);
  const Tensor smooth_weighted = weight.defined() ? smooth * weight : smooth;
  switch (spec.loss) {
    case LossKind::cross_entropy:
    case LossKind::nll: {
      const Tensor counted = labels != spec.ignore_index.value_or(-1);
      const Tensor losses = -(smooth_weighted * p.log()).sum(1).masked_select(counted);
      return (weight.defined() ? losses.sum() / weight.index_select(0, labels.masked_select(counted)).sum()
                               : losses.mean())
          .item<double>();
    }
    case LossKind::class_probabilities:
      return -(smooth_weighted * p.log()).sum(1).mean().item<double>();
    case LossKind::softmax_log:
    case LossKind::exercise_softmax_log:
      return -p.gather(1, labels.unsqueeze(1)).log().mean().item<double>();
    case LossKind::kl_divergence: {
      const Tensor entropy = torch::xlogy(smooth, smooth);
      const Tensor rows = (entropy - smooth * p.log()).sum(1);
      return (spec.batch_mean ? rows.mean() : rows.mean() / static_cast<double>(spec.classes)).item<double>();
    }
    case LossKind::bce_with_logits: {
      const Tensor yes = -row * logits.sigmoid().log();
      const Tensor no = -(1 - row) * (-logits).sigmoid().log();
      const Tensor positive = weights(spec.positive_weights);
      const Tensor losses = (positive.defined() ? yes * positive : yes) + no;
      return (weight.defined() ? losses * weight : losses).mean().item<double>();
    }
    case LossKind::mse:
      return (logits - row).square().mean().item<double>();
    case LossKind::l1:
      return (logits - row).abs().mean().item<double>();
    case LossKind::smooth_l1: {
      const Tensor d = (logits - row).abs();
      const double beta = spec.smooth_l1_beta;
      return torch::where(d < beta, d.square() / (2 * beta), d - beta / 2).mean().item<double>();
    }
    case LossKind::huber: {
      const Tensor d = (logits - row).abs();
      const double delta = spec.huber_delta;
      return torch::where(d <= delta, d.square() / 2, delta * (d - delta / 2)).mean().item<double>();
    }
  }
  return NAN;
}

TEST_F(TwinsTest, TheLossShownIsTheMeanOfWhatItsNameSays) {
  const Tensor labels = torch::randint(0, 4, {30}, torch::kLong);
  for (const Variant& variant : variants()) {
    SCOPED_TRACE(variant.name);
    const MlpSpec& spec = variant.spec;
    const Tensor images = torch::rand({30, spec.inputs}, torch::kDouble);
    Twins twins(spec, {}, torch::kDouble);
    const std::vector<Tensor> masks = draw_dropout_masks(spec, 30, 1, 1);
    for (Twin* twin : {static_cast<Twin*>(&twins.autograd), static_cast<Twin*>(&twins.manual)}) {
      twin->set_dropout_masks(masks);
      const double shown = twin->forward(images, labels);
      const double expected = loss_in_other_words(spec, twin->logits(), labels);
      // The chain losses add 1e-12 in the logarithm and in the quotient; elsewhere it is rounding.
      const bool is_chain = !entry_of(spec.loss).tail.empty() && spec.loss != LossKind::nll &&
                            spec.loss != LossKind::kl_divergence;
      EXPECT_NEAR(shown, expected, is_chain ? 1e-10 : 1e-13) << twin->name();
    }
  }
}

TEST_F(TwinsTest, ABatchWhoseRowsAreAllIgnoredHasNeitherLossNorGradient) {
  for (const LossKind loss : {LossKind::cross_entropy, LossKind::nll}) {
    for (const nn::Reduction reduction : {nn::Reduction::mean, nn::Reduction::sum}) {
      for (const std::vector<double>& weights : {std::vector<double>{}, {0.5, 2, 1, 3}}) {
        MlpSpec spec{.inputs = 8, .hidden = {6}, .classes = 4, .loss = loss, .reduction = reduction};
        spec.class_weights = weights;
        spec.ignore_index = 2;
        spec.label_smoothing = loss == LossKind::cross_entropy ? 0.1 : 0;
        Twins twins(spec, {}, torch::kDouble);
        const Tensor images = torch::rand({5, 8}, torch::kDouble);
        for (Twin* twin : {static_cast<Twin*>(&twins.autograd), static_cast<Twin*>(&twins.manual)}) {
          EXPECT_EQ(twin->forward(images, torch::full({5}, 2, torch::kLong)), 0);
          twin->backward();
          for (const NamedTensor& gradient : twin->gradients()) {
            EXPECT_EQ(gradient.tensor.abs().max().item<double>(), 0) << twin->name() << " " << gradient.name;
          }
        }
      }
    }
  }
}

TEST_F(TwinsTest, FlipsInsideABlockAreCounted) {
  const MlpSpec spec{.inputs = 8, .hidden = {6, 6}, .classes = 4, .residual = true};
  Twins twins(spec, {}, torch::kDouble);
  for (const NamedTensor& parameter : twins.manual.parameters()) {
    if (parameter.name == "2.0.weight" || parameter.name == "2.0.bias") {
      parameter.tensor.neg_();  // every input of the activation behind it changes its sign
    }
  }
  twins.step(spec, torch::kDouble, 10);
  Agreement agreement;
  count_flips(spec, twins.autograd, twins.manual, agreement);
  EXPECT_EQ(agreement.flips, (std::map<std::string, std::int64_t>{{"2.1.output", 60}}));
}

TEST_F(TwinsTest, EvaluateAlikeAfterTraining) {
  const MlpSpec spec{
      .inputs = 20, .hidden = {16}, .classes = 5, .normalization = Normalization::batch, .dropout = 0.3};
  Twins twins(spec, {}, torch::kDouble);
  for (int i = 0; i < 5; ++i) {
    twins.step(spec, torch::kDouble);
  }
  const Tensor images = torch::rand({7, 20}, torch::kDouble);
  const Tensor labels = torch::randint(0, 5, {7}, torch::kLong);
  const std::vector<Tensor> masks = draw_dropout_masks(spec, 7, 1, 1);
  double in_training = 0;
  for (Twin* twin : {static_cast<Twin*>(&twins.autograd), static_cast<Twin*>(&twins.manual)}) {
    twin->set_dropout_masks(masks);
    in_training = twin->forward(images, labels);  // moves the running statistics of both
  }
  for (Twin* twin : {static_cast<Twin*>(&twins.autograd), static_cast<Twin*>(&twins.manual)}) {
    twin->eval();
    twin->forward(images, labels);
  }
  EXPECT_LE(relative_error(twins.autograd.logits(), twins.manual.logits()), 1e-12)
      << "running statistics agree";
  EXPECT_NE(twins.manual.forward(images, labels), in_training);
}

TEST_F(TwinsTest, EvaluateABatchByItselfWithoutRunningStatistics) {
  MlpSpec spec{.inputs = 20, .hidden = {16}, .classes = 5, .normalization = Normalization::batch};
  spec.normalization_statistics = false;
  Twins twins(spec, {}, torch::kDouble);
  twins.step(spec, torch::kDouble);
  const Tensor images = torch::rand({7, 20}, torch::kDouble);
  const Tensor labels = torch::randint(0, 5, {7}, torch::kLong);
  for (Twin* twin : {static_cast<Twin*>(&twins.autograd), static_cast<Twin*>(&twins.manual)}) {
    const double in_training = twin->forward(images, labels);
    twin->eval();
    EXPECT_NEAR(twin->forward(images, labels), in_training, 1e-14) << "the same statistics, " << twin->name();
  }
  EXPECT_LE(relative_error(twins.autograd.logits(), twins.manual.logits()), 1e-12);
}

TEST_F(TwinsTest, AgreeForEveryDepth) {
  for (const std::vector<std::int64_t>& hidden :
       std::vector<std::vector<std::int64_t>>{{}, {1}, {30}, {30, 20}, {30, 20, 10}, {9, 9, 9, 9, 9, 9}}) {
    expect_agreement({.inputs = 20, .hidden = hidden, .classes = 5});
  }
}

TEST_F(TwinsTest, AgreeForEveryOptimizer) {
  using Kind = OptimizerOptions::Kind;
  const MlpSpec spec{.inputs = 20, .hidden = {16}, .classes = 5};
  for (const OptimizerOptions& optimizer :
       {OptimizerOptions{.kind = Kind::sgd, .lr = 0.1},
        OptimizerOptions{.kind = Kind::sgd, .lr = 0.1, .momentum = 0.9},
        OptimizerOptions{.kind = Kind::sgd, .lr = 0.1, .momentum = 0.9, .nesterov = true},
        OptimizerOptions{.kind = Kind::sgd, .lr = 0.1, .weight_decay = 0.01},
        OptimizerOptions{.kind = Kind::adam, .weight_decay = 0.01},
        OptimizerOptions{.kind = Kind::adamw, .weight_decay = 0.01},
        OptimizerOptions{.kind = Kind::adam, .amsgrad = true},
        OptimizerOptions{.kind = Kind::sgd, .lr = 0.1, .momentum = 0.9, .dampening = 0.3},
        OptimizerOptions{.kind = Kind::rmsprop},
        OptimizerOptions{.kind = Kind::rmsprop, .momentum = 0.9, .centered = true},
        OptimizerOptions{.kind = Kind::adagrad, .lr = 0.01},
        OptimizerOptions{.kind = Kind::sgd, .lr = 0.1, .clip_norm = 0.05}}) {
    expect_agreement(spec, optimizer);
  }
}

/// Every number of an optimizer that the test above leaves as it is, each in a walk of 21 steps.
TEST_F(TwinsTest, AgreeForEveryNumberOfAnOptimizer) {
  using Kind = OptimizerOptions::Kind;
  const MlpSpec spec{.inputs = 20, .hidden = {16}, .classes = 5};
  for (const OptimizerOptions& optimizer :
       {OptimizerOptions{.kind = Kind::adam, .beta1 = 0.5},
        OptimizerOptions{.kind = Kind::adam, .beta2 = 0.9}, OptimizerOptions{.kind = Kind::adam, .eps = 1e-2},
        OptimizerOptions{.kind = Kind::adamw, .beta1 = 0.5, .beta2 = 0.9, .eps = 1e-2},
        OptimizerOptions{.kind = Kind::adam, .amsgrad = true, .beta1 = 0, .beta2 = 0.5},
        OptimizerOptions{.kind = Kind::rmsprop, .alpha = 0.5},
        OptimizerOptions{.kind = Kind::rmsprop, .eps = 1e-2},
        OptimizerOptions{.kind = Kind::adagrad, .lr = 0.01, .eps = 1e-10},
        OptimizerOptions{.kind = Kind::adagrad, .lr = 0.01, .lr_decay = 0.1},
        OptimizerOptions{.kind = Kind::adagrad, .lr = 0.01, .initial_accumulator_value = 0.1},
        OptimizerOptions{.kind = Kind::sgd, .lr = 0.1, .clip_norm = 0.05, .clip_norm_type = 1},
        OptimizerOptions{.kind = Kind::sgd, .lr = 0.1, .clip_norm = 0.05, .clip_norm_type = 3},
        OptimizerOptions{.kind = Kind::sgd,
        .lr = 0.1,
        .clip_norm = 0.05,
        .clip_norm_type = std::numeric_limits<double>::infinity()}}) {
    expect_agreement(spec, optimizer);
  }
}

/// The weights of the manual twin after a few steps on the same batches.
Tensor weights_after(const OptimizerOptions& optimizer) {
  const MlpSpec spec{.inputs = 20, .hidden = {16}, .classes = 5};
  torch::manual_seed(5);
  Twins twins(spec, optimizer, torch::kDouble);
  for (int i = 0; i < 3; ++i) {
    twins.step(spec, torch::kDouble);
  }
  return twins.manual.parameters()[0].tensor.clone();
}

TEST_F(TwinsTest, EveryNumberOfAnOptimizerChangesTheWalk) {
  using Kind = OptimizerOptions::Kind;
  const auto expect_change = [](OptimizerOptions plain,
                                const std::function<void(OptimizerOptions&)>& change) {
    OptimizerOptions changed = plain;
    change(changed);
    EXPECT_GT(relative_error(weights_after(plain), weights_after(changed)), 1e-5);
  };
  for (const Kind kind : {Kind::adam, Kind::adamw}) {
    expect_change(default_options(kind), [](OptimizerOptions& o) { o.beta1 = 0.5; });
    expect_change(default_options(kind), [](OptimizerOptions& o) { o.beta2 = 0.5; });
  }
  for (const Kind kind : {Kind::adam, Kind::adamw, Kind::rmsprop, Kind::adagrad}) {
    expect_change(default_options(kind), [](OptimizerOptions& o) { o.eps = 0.1; });
  }
  expect_change(default_options(Kind::rmsprop), [](OptimizerOptions& o) { o.alpha = 0.5; });
  expect_change(default_options(Kind::adagrad), [](OptimizerOptions& o) { o.lr_decay = 0.5; });
  expect_change(default_options(Kind::adagrad),
                [](OptimizerOptions& o) { o.initial_accumulator_value = 0.5; });
  OptimizerOptions clipped = default_options(Kind::sgd);
  clipped.clip_norm = 0.01;
  expect_change(clipped, [](OptimizerOptions& o) { o.clip_norm_type = 1; });
}

/// LibTorch's own defaults, read from its classes.
TEST(Optimizer, DefaultsAreThoseOfTorchOptim) {
  using Kind = OptimizerOptions::Kind;
  namespace optim = torch::optim;
  const OptimizerOptions adam = default_options(Kind::adam);
  EXPECT_EQ(adam.lr, optim::AdamOptions().lr());
  EXPECT_EQ(std::make_tuple(adam.beta1, adam.beta2), optim::AdamOptions().betas());
  EXPECT_EQ(adam.eps, optim::AdamOptions().eps());
  EXPECT_EQ(adam.weight_decay, optim::AdamOptions().weight_decay());
  EXPECT_EQ(default_options(Kind::adamw).weight_decay, optim::AdamWOptions().weight_decay());
  EXPECT_EQ(default_options(Kind::adamw).lr, optim::AdamWOptions().lr());
  const OptimizerOptions rmsprop = default_options(Kind::rmsprop);
  EXPECT_EQ(rmsprop.lr, optim::RMSpropOptions().lr());
  EXPECT_EQ(rmsprop.alpha, optim::RMSpropOptions().alpha());
  EXPECT_EQ(rmsprop.eps, optim::RMSpropOptions().eps());
  const OptimizerOptions adagrad = default_options(Kind::adagrad);
  EXPECT_EQ(adagrad.lr, optim::AdagradOptions().lr());
  EXPECT_EQ(adagrad.lr_decay, optim::AdagradOptions().lr_decay());
  EXPECT_EQ(adagrad.initial_accumulator_value, optim::AdagradOptions().initial_accumulator_value());
  EXPECT_EQ(adagrad.eps, optim::AdagradOptions().eps());
}

/// Each number of a schedule reaches its formula.
TEST(Schedule, EveryNumberReachesItsFormula) {
  using Kind = ScheduleOptions::Kind;
  const auto rates = [](const ScheduleOptions& schedule) {
    std::vector<double> all;
    for (std::int64_t step = 0; step < 60; ++step) {
      all.push_back(learning_rate_at(schedule, 2, step, 10, 60));
    }
    return all;
  };
  const std::vector<double> cosine = rates({.kind = Kind::cosine, .eta_min = 0.5});
  EXPECT_DOUBLE_EQ(cosine[0], 2);
  EXPECT_DOUBLE_EQ(cosine[30], 1.25);  // half way from 2 to 0.5
  const std::vector<double> warm_up = rates({.warm_up = 10, .warm_up_start = 0.2, .warm_up_end = 0.8});
  EXPECT_DOUBLE_EQ(warm_up[0], 0.4);
  EXPECT_DOUBLE_EQ(warm_up[5], 1);
  EXPECT_DOUBLE_EQ(warm_up[10], 1.6);
  EXPECT_DOUBLE_EQ(warm_up[59], 1.6);
  ScheduleOptions one_cycle{
      .kind = Kind::one_cycle, .pct_start = 0.35, .div_factor = 10, .final_div_factor = 100};
  one_cycle.anneal = optim::OneCycleLR::Anneal::linear;
  const std::vector<double> two = rates(one_cycle);
  EXPECT_DOUBLE_EQ(two[0], 0.2);
  EXPECT_DOUBLE_EQ(two[10], 1.1) << "half way up along a line";
  EXPECT_DOUBLE_EQ(two[20], 2);
  EXPECT_DOUBLE_EQ(two[59], 0.002);
  one_cycle.three_phase = true;
  const std::vector<double> three = rates(one_cycle);
  EXPECT_DOUBLE_EQ(three[20], 2);
  EXPECT_DOUBLE_EQ(three[40], 0.2) << "as fast down as up";
  EXPECT_DOUBLE_EQ(three[59], 0.002);
  one_cycle.anneal = optim::OneCycleLR::Anneal::cosine;
  EXPECT_NEAR(rates(one_cycle)[5], 2 - 1.8 / 2 * (1 + std::cos(M_PI * 0.25)), 1e-15);
}

TEST_F(TwinsTest, CompareEveryParameterAndEveryIntermediateByName) {
  const MlpSpec spec{.inputs = 8, .hidden = {6}, .classes = 4, .loss = LossKind::softmax_log};
  Twins twins(spec, {}, torch::kDouble);
  twins.step(spec, torch::kDouble);
  std::vector<std::string> names;
  for (const NamedTensor& gradient : twins.manual.gradients()) {
    names.push_back(gradient.name);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"0.weight", "0.bias", "2.weight", "2.bias", "0.output",
                                             "1.output", "logits", "3.output", "4.output"}));
  const MlpSpec nested{.inputs = 8, .hidden = {6, 6}, .classes = 4, .residual = true};
  Twins with_block(nested, {}, torch::kDouble);
  with_block.step(nested, torch::kDouble);
  names.clear();
  for (const NamedTensor& gradient : with_block.manual.gradients()) {
    names.push_back(gradient.name);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"0.weight", "0.bias", "2.0.weight", "2.0.bias", "3.weight",
                                             "3.bias", "0.output", "1.output", "2.output", "logits",
                                             "2.0.output", "2.1.output"}));
}

TEST_F(TwinsTest, BeginAtTheSameWeights) {
  const MlpSpec spec{.inputs = 8, .hidden = {6}, .classes = 4};
  Twins twins(spec, {}, torch::kFloat);
  compare_weights(twins.autograd, twins.manual, twins.agreement);
  EXPECT_EQ(twins.agreement.max_abs_weight_difference, 0);
}

TEST_F(TwinsTest, TheManualTwinTrainsWithGradientsGloballyDisabled) {
  const MlpSpec spec{.inputs = 8, .hidden = {6}, .classes = 4};
  const torch::NoGradGuard no_grad;
  ManualTwin twin(spec, {.lr = 0.01}, draw_initial_parameters(spec, 1), torch::kDouble);
  const Tensor images = torch::rand({32, 8}, torch::kDouble);
  const Tensor labels = torch::randint(0, 4, {32}, torch::kLong);
  const double first = twin.forward(images, labels);
  for (int step = 0; step < 300; ++step) {
    twin.forward(images, labels);
    twin.backward();
    twin.update();
  }
  EXPECT_LT(twin.forward(images, labels), 0.8 * first);
}

TEST_F(TwinsTest, NothingInTheManualTwinAsksForAGradient) {
  const MlpSpec spec{.inputs = 8, .hidden = {6}, .classes = 4};
  Twins twins(spec, {}, torch::kDouble);
  twins.step(spec, torch::kDouble);
  for (const auto& tensors :
       {twins.manual.parameters(), twins.manual.gradients(), twins.manual.intermediates()}) {
    for (const NamedTensor& named : tensors) {
      EXPECT_FALSE(named.tensor.requires_grad()) << named.name;
    }
  }
}

TEST_F(TwinsTest, ParametersAreViewsIntoOneVector) {
  const MlpSpec spec{.inputs = 8, .hidden = {6}, .classes = 4};
  Twins twins(spec, {}, torch::kDouble);
  const void* storage = twins.manual.parameters().front().tensor.storage().data();
  for (const NamedTensor& named : twins.manual.parameters()) {
    EXPECT_EQ(named.tensor.storage().data(), storage);
  }
}

TEST_F(TwinsTest, TheLossShownIsTheMeanEvenWhereTheGradientIsThatOfTheSum) {
  const Tensor images = torch::rand({10, 8}, torch::kDouble);
  const Tensor labels = torch::randint(0, 4, {10}, torch::kLong);
  MlpSpec spec{.inputs = 8, .hidden = {6}, .classes = 4};
  Twins mean(spec, {}, torch::kDouble);
  spec.reduction = nn::Reduction::sum;
  Twins sum(spec, {}, torch::kDouble);
  EXPECT_NEAR(mean.manual.forward(images, labels), sum.manual.forward(images, labels), 1e-13);
  EXPECT_NEAR(mean.autograd.forward(images, labels), sum.autograd.forward(images, labels), 1e-13);
  mean.manual.backward();
  sum.manual.backward();
  EXPECT_LE(relative_error(mean.manual.gradients()[0].tensor * 10, sum.manual.gradients()[0].tensor), 1e-13);
}

TEST_F(TwinsTest, DropoutMasksDependOnSeedAndStepAlone) {
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
  const Tensor a = one.to(torch::kDouble) - one.to(torch::kDouble).mean();
  const Tensor b = other.to(torch::kDouble) - other.to(torch::kDouble).mean();
  return ((a * b).mean() / (a.square().mean() * b.square().mean()).sqrt()).item<double>();
}

TEST_F(TwinsTest, DropoutMasksKeepTheirShareAndAreIndependent) {
  const MlpSpec spec{.inputs = 1000, .hidden = {1000}, .classes = 5, .input_dropout = 0.5, .dropout = 0.2};
  const std::vector<Tensor> masks = draw_dropout_masks(spec, 1000, 1, 7);
  // Five standard errors of a million draws.
  EXPECT_NEAR(masks[0].to(torch::kDouble).mean().item<double>(), 0.5, 5 * 0.5e-3);
  EXPECT_NEAR(masks[1].to(torch::kDouble).mean().item<double>(), 0.8, 5 * 0.4e-3);
  for (const Tensor& other :
       {masks[1], masks[0].roll(1, 1), masks[0].roll(2, 1), masks[0].roll(1, 0),
        draw_dropout_masks(spec, 1000, 1, 8)[0], draw_dropout_masks(spec, 1000, 2, 7)[0]}) {
    EXPECT_NEAR(correlation(masks[0], other), 0, 5e-3);
  }
}

TEST_F(TwinsTest, TheLearningRateOfBothCanBeSet) {
  const MlpSpec spec{.inputs = 8, .hidden = {6}, .classes = 4};
  Twins twins(spec, {.lr = 1e-3}, torch::kDouble);
  const Tensor before = twins.manual.parameters()[0].tensor.clone();
  twins.autograd.set_lr(0);
  twins.manual.set_lr(0);
  twins.step(spec, torch::kDouble);
  EXPECT_TRUE(twins.manual.parameters()[0].tensor.equal(before));
  EXPECT_TRUE(twins.autograd.parameters()[0].tensor.equal(before));
}

// ---- The comparison can fail
// ---------------------------------------------------------------------------------------

/// A twin whose gradients are what the test says.
class FakeTwin final : public Twin {
 public:
  explicit FakeTwin(std::vector<NamedTensor> gradients) : gradients_(std::move(gradients)) {}
  std::string name() const override { return "fake"; }
  double forward(const Tensor& /*images*/, const Tensor& /*labels*/) override { return 0; }
  Tensor predict(const Tensor& /*images*/) override { return {}; }
  void backward() override {}
  void update() override {}
  void set_lr(double /*rate*/) override {}
  void train(bool /*training*/) override {}
  void set_dropout_masks(const std::vector<Tensor>& /*masks*/) override {}
  void keep_intermediate_gradients(bool /*keep*/) override {}
  Tensor logits() const override { return {}; }
  std::vector<NamedTensor> intermediates() const override { return {}; }
  std::vector<NamedTensor> parameters() const override { return gradients_; }
  std::vector<NamedTensor> buffers() const override { return {}; }
  std::vector<NamedTensor> optimizer_state() const override { return {}; }
  void load_optimizer_state(const std::vector<NamedTensor>& /*state*/) override {}
  std::vector<NamedTensor> gradients() const override { return gradients_; }

 private:
  std::vector<NamedTensor> gradients_;
};

Agreement compare(const std::vector<NamedTensor>& autograd, const std::vector<NamedTensor>& manual) {
  Agreement agreement;
  compare_gradients(FakeTwin(autograd), FakeTwin(manual), agreement);
  compare_weights(FakeTwin(autograd), FakeTwin(manual), agreement);
  return agreement;
}

TEST(Comparison, IsRelativeToTheLargestEntryAndNamesTheWorst) {
  const Agreement agreement = compare({{"a", torch::tensor({100.0, 1.0})}, {"b", torch::tensor({1.0, 1.0})}},
                                      {{"a", torch::tensor({100.0, 2.0})}, {"b", torch::tensor({1.0, 1.5})}});
  EXPECT_DOUBLE_EQ(agreement.max_abs_gradient_difference, 1);
  EXPECT_DOUBLE_EQ(agreement.max_rel_gradient_difference, 0.5);
  EXPECT_EQ(agreement.worst, "b");
}

TEST(Comparison, ZeroOverZeroIsZero) {
  EXPECT_EQ(compare({{"a", torch::zeros({3})}}, {{"a", torch::zeros({3})}}).max_rel_gradient_difference, 0);
}

TEST(Comparison, FailsForWhatCannotAgree) {
  const double infinity = std::numeric_limits<double>::infinity();
  const Tensor one = torch::ones({3});
  const auto relative = [&](const Tensor& a, const Tensor& m) {
    return compare({{"a", a}}, {{"a", m}}).max_rel_gradient_difference;
  };
  EXPECT_EQ(relative(torch::zeros({3}), one), infinity) << "x/0";
  EXPECT_EQ(relative(one, one * NAN), infinity) << "NaN by hand";
  EXPECT_EQ(relative(one * NAN, one), infinity) << "NaN in autograd";
  EXPECT_EQ(relative(one * NAN, one * NAN), infinity) << "NaN in both";
  EXPECT_EQ(relative(one * INFINITY, one * INFINITY), infinity) << "infinity in both";
  EXPECT_EQ(relative(one, torch::ones({4})), infinity) << "another shape";
  EXPECT_EQ(relative(one, torch::ones({1})), infinity) << "a shape that would broadcast";
  EXPECT_EQ(relative(one, Tensor()), infinity) << "a gradient that is not there";
  EXPECT_EQ(compare({{"a", one}}, {{"b", one}}).max_rel_gradient_difference, infinity) << "another name";
  EXPECT_EQ(compare({{"a", one}}, {}).max_rel_gradient_difference, infinity) << "a missing tensor";
  EXPECT_EQ(compare({}, {}).max_rel_gradient_difference, infinity) << "nothing to compare";
}

}  // namespace
}  // namespace twingrad
