#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <utility>

#include "twingrad/layers/activations.h"
#include "twingrad/mlp/torch_reference.h"
#include "twingrad/mlp/training_loss.h"
#include "twingrad/runtime/fields.h"
#include "twins.h"

namespace twingrad {
namespace {

using at::Tensor;
using testing::expect_twins_agree;
using testing::relative;
using testing::Twins;
using testing::TwinsTest;

TEST_F(TwinsTest, AgreeForEveryActivation) {
  for (const nn::ActivationEntry& entry : nn::activations()) {
    SCOPED_TRACE(entry.name);
    expect_twins_agree({.inputs = 20, .hidden = {16, 12}, .classes = 5, .activation = entry.name});
  }
}

TEST_F(TwinsTest, AgreeForEveryLossReductionBiasAndInitialization) {
  for (const LossEntry& loss : losses()) {
    SCOPED_TRACE(loss.name);
    for (const nn::Reduction reduction : {nn::Reduction::mean, nn::Reduction::sum}) {
      for (const Bias bias : {Bias::every_layer, Bias::column_of_ones}) {
        for (const Initialization initialization : {Initialization::uniform, Initialization::normal}) {
          expect_twins_agree({.inputs = 8,
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
    expect_twins_agree({.inputs = 20, .hidden = {16, 12}, .classes = 5, .normalization = normalization});
    expect_twins_agree({.inputs = 20,
                        .hidden = {16, 12},
                        .classes = 5,
                        .activation = "tanh",
                        .normalization = normalization,
                        .dropout = 0.3,
                        .label_smoothing = 0.1});
  }
}

/// A network with an option, and the same network without it.
struct Variant {
  std::string name;
  MlpSpec spec;
  MlpSpec plain;
};

using Change = std::function<void(MlpSpec&)>;

Variant variant_of(const std::string& name, const Change& common, const Change& change) {
  Variant variant = {name, {.inputs = 12, .hidden = {10, 10}, .classes = 4}, {}};
  common(variant.spec);
  variant.plain = variant.spec;
  change(variant.spec);
  return variant;
}

/// Every option of every loss, with the mean and the sum.
std::vector<Variant> loss_variants() {
  const std::vector<double> weights = {0.5, 2, 1, 3};
  const std::vector<std::pair<std::string, Change>> options = {
      {"--label-smoothing", [](MlpSpec& s) { s.label_smoothing = 0.1; }},
      {"--class-weights", [=](MlpSpec& s) { s.class_weights = weights; }},
      {"--ignore-index", [](MlpSpec& s) { s.ignore_index = 2; }},
      {"--positive-weights", [=](MlpSpec& s) { s.positive_weights = weights; }},
      {"--smooth-l1-beta", [](MlpSpec& s) { s.smooth_l1_beta = 0.3; }},
      {"--huber-delta", [](MlpSpec& s) { s.huber_delta = 0.3; }}};
  std::vector<Variant> all;
  for (const LossEntry& entry : losses()) {
    const Change mean = [&](MlpSpec& s) { s.loss = entry.kind; };
    const Change sum = [&](MlpSpec& s) {
      s.loss = entry.kind;
      s.reduction = nn::Reduction::sum;
    };
    if (entry.is_entrywise) {  // the others are forms of the cross-entropy
      all.push_back(variant_of(
          entry.name, [](MlpSpec&) {}, mean));
    }
    all.push_back(variant_of(entry.name + " sum", mean, sum));
    for (const auto& [option, change] : options) {
      if (loss_fields().at(option).belongs_to(entry.name)) {
        all.push_back(variant_of(entry.name + " " + option, mean, change));
        all.push_back(variant_of(entry.name + " sum " + option, sum, change));
      }
    }
  }
  all.push_back(variant_of(
      "kl_divergence batch_mean", [](MlpSpec& s) { s.loss = LossKind::kl_divergence; },
      [](MlpSpec& s) { s.batch_mean = true; }));
  all.push_back(variant_of(
      "cross_entropy, all options", [](MlpSpec&) {},
      [=](MlpSpec& s) {
        s.label_smoothing = 0.1;
        s.class_weights = weights;
        s.ignore_index = 2;
      }));
  return all;
}

/// Input dropout and residual blocks, with every bias and normalization.
std::vector<Variant> layer_variants() {
  const Change nothing = [](MlpSpec&) {};
  const Change ones = [](MlpSpec& s) { s.bias = Bias::column_of_ones; };
  const Change input_dropout = [](MlpSpec& s) { s.input_dropout = 0.3; };
  const Change residual = [](MlpSpec& s) { s.residual = true; };
  std::vector<Variant> all = {
      variant_of("input dropout", nothing, input_dropout),
      variant_of("input dropout, a column of ones", ones, input_dropout),
      variant_of("residual", nothing, residual),
      variant_of(
          "residual from the input on", [](MlpSpec& s) { s.inputs = 10; }, residual),
      variant_of("residual, a column of ones", ones, residual),
      variant_of(
          "residual, separate bias", [](MlpSpec& s) { s.bias = Bias::separate_layer; }, residual)};
  for (const auto& [name, normalization] : normalizations()) {
    if (normalization != Normalization::none) {
      const auto normalize = [kind = normalization](MlpSpec& s) {
        s.normalization = kind;
        s.dropout = 0.2;
      };
      all.push_back(variant_of("residual, normalization " + std::string(name), normalize, residual));
    }
  }
  return all;
}

std::vector<Variant> variants() {
  std::vector<Variant> all = loss_variants();
  const std::vector<Variant> others = layer_variants();
  all.insert(all.end(), others.begin(), others.end());
  return all;
}

TEST_F(TwinsTest, AgreeForEveryVariant) {
  for (const Variant& variant : variants()) {
    SCOPED_TRACE(variant.name);
    expect_twins_agree(variant.spec);
  }
}

/// The gradients of all parameters in the manual twin, as one vector.
Tensor gradient_of(const MlpSpec& spec) {
  at::manual_seed(3);
  ManualTwin twin(spec, {}, draw_initial_parameters(spec, 2), at::kDouble);
  const Tensor images = at::rand({24, spec.inputs}, at::kDouble);
  const Tensor labels = at::arange(24, at::kLong).remainder(spec.classes);
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
  return at::cat(flat);
}

TEST_F(TwinsTest, EveryVariantChangesTheGradient) {
  for (const Variant& variant : variants()) {
    SCOPED_TRACE(variant.name);
    EXPECT_GT(relative(gradient_of(variant.plain), gradient_of(variant.spec)), 1e-3);
  }
}

TEST_F(TwinsTest, AgreeWithASeparateBiasAndNormalizationsWithoutParameters) {
  MlpSpec spec{.inputs = 12, .hidden = {10, 9}, .classes = 4, .bias = Bias::separate_layer};
  expect_twins_agree(spec);
  spec.normalization_affine = false;
  for (const Normalization normalization : {Normalization::batch, Normalization::layer, Normalization::rms}) {
    spec.normalization = normalization;
    expect_twins_agree(spec);
  }
}

TEST_F(TwinsTest, LogarithmsOfSmoothLabelsGiveTheSameDivergence) {
  MlpSpec spec{
      .inputs = 12, .hidden = {10}, .classes = 4, .loss = LossKind::kl_divergence, .label_smoothing = 0.1};
  const Tensor from_probabilities = gradient_of(spec);
  spec.log_target = true;
  expect_twins_agree(spec);
  // exp(log t) equals t up to rounding.
  EXPECT_LE(relative(from_probabilities, gradient_of(spec)), 1e-13);
}

/// The mean loss computed by LibTorch from the logits and one-hot labels, without code that the twins share.
double expected_loss(const MlpSpec& spec, const Tensor& logits, const Tensor& labels) {
  namespace reference = torch_reference;
  constexpr auto kMean = nn::Reduction::mean;
  const auto tensor = [](const std::vector<double>& values) {
    return values.empty() ? Tensor() : at::tensor(values, at::kDouble);
  };
  const Tensor weights = tensor(spec.class_weights);
  const double smoothing = spec.label_smoothing;
  const Tensor row = at::one_hot(labels, spec.classes).to(at::kDouble);
  const Tensor smooth_row = row * (1 - smoothing) + smoothing / static_cast<double>(spec.classes);
  const auto loss = [&]() -> Tensor {
    switch (spec.loss) {
      case LossKind::cross_entropy:
      case LossKind::nll:
        return reference::cross_entropy(logits, labels, {kMean, weights, spec.ignore_index.value_or(-100)},
                                        smoothing);
      case LossKind::class_probabilities:
        return reference::soft_cross_entropy(logits, row, {kMean, weights, smoothing});
      case LossKind::softmax_log:
      case LossKind::exercise_softmax_log:
        return reference::cross_entropy(logits, labels, {});
      case LossKind::kl_divergence:
        return reference::kl_div(logits.log_softmax(1), smooth_row, {.batch_mean = spec.batch_mean});
      case LossKind::bce_with_logits:
        return reference::bce_with_logits(logits, row, {kMean, weights, tensor(spec.positive_weights)});
      case LossKind::mse:
        return reference::mse(logits, row, kMean);
      case LossKind::l1:
        return reference::l1(logits, row, kMean);
      case LossKind::smooth_l1:
        return reference::smooth_l1(logits, row, kMean, spec.smooth_l1_beta);
      case LossKind::huber:
        return reference::huber(logits, row, kMean, spec.huber_delta);
    }
    return {};
  };
  return loss().item<double>();
}

TEST_F(TwinsTest, ForwardReturnsTheMeanLoss) {
  const Tensor labels = at::randint(0, 4, {30}, at::kLong);
  for (const Variant& variant : variants()) {
    SCOPED_TRACE(variant.name);
    const MlpSpec& spec = variant.spec;
    const Tensor images = at::rand({30, spec.inputs}, at::kDouble);
    Twins twins(spec, {}, at::kDouble);
    const std::vector<Tensor> masks = draw_dropout_masks(spec, 30, 1, 1);
    for (Twin* twin : twins.both) {
      twin->set_dropout_masks(masks);
      const double shown = twin->forward(images, labels);
      const double expected = expected_loss(spec, twin->logits(), labels);
      // The chain losses add 1e-12 in the logarithm and in the quotient; the others only differ by rounding.
      const bool is_chain = !entry_of(spec.loss).tail.empty() && spec.loss != LossKind::nll &&
                            spec.loss != LossKind::kl_divergence;
      EXPECT_NEAR(shown, expected, is_chain ? 1e-10 : 1e-13) << twin->name();
    }
  }
}

TEST_F(TwinsTest, AgreeForEveryDepth) {
  for (const std::vector<std::int64_t>& hidden :
       std::vector<std::vector<std::int64_t>>{{}, {1}, {30}, {30, 20}, {30, 20, 10}, {9, 9, 9, 9, 9, 9}}) {
    expect_twins_agree({.inputs = 20, .hidden = hidden, .classes = 5});
  }
}

}  // namespace
}  // namespace twingrad
