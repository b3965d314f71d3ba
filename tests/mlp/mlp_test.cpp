#include <gtest/gtest.h>
#include <torch/torch.h>

#include "../oracles.h"
#include "twingrad/layers/activations.h"
#include "twingrad/mlp/autograd_twin.h"
#include "twingrad/mlp/manual_twin.h"

namespace twingrad {
namespace {

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
  for (const ActivationEntry& entry : activations()) {
    SCOPED_TRACE(entry.name);
    expect_agreement({.inputs = 20, .hidden = {16, 12}, .classes = 5, .activation = entry.name});
  }
}

TEST_F(TwinsTest, AgreeForEveryLossReductionBiasAndInitialization) {
  for (const LossKind loss :
       {LossKind::cross_entropy, LossKind::softmax_log, LossKind::exercise_softmax_log}) {
    for (const Reduction reduction : {Reduction::mean, Reduction::sum}) {
      for (const Bias bias : {Bias::every_layer, Bias::column_of_ones}) {
        for (const Initialization initialization : {Initialization::uniform, Initialization::normal}) {
          expect_agreement({.inputs = 8,
                            .hidden = {6},
                            .classes = 4,
                            .bias = bias,
                            .loss = loss,
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
    twin->set_training(false);
    twin->forward(images, labels);
  }
  EXPECT_LE(relative_error(twins.autograd.logits(), twins.manual.logits()), 1e-12)
      << "running statistics agree";
  EXPECT_NE(twins.manual.forward(images, labels), in_training);
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
       {OptimizerOptions{.kind = Kind::sgd, .learning_rate = 0.1},
        OptimizerOptions{.kind = Kind::sgd, .learning_rate = 0.1, .momentum = 0.9},
        OptimizerOptions{.kind = Kind::sgd, .learning_rate = 0.1, .momentum = 0.9, .nesterov = true},
        OptimizerOptions{.kind = Kind::sgd, .learning_rate = 0.1, .weight_decay = 0.01},
        OptimizerOptions{.kind = Kind::adam, .weight_decay = 0.01},
        OptimizerOptions{.kind = Kind::adamw, .weight_decay = 0.01},
        OptimizerOptions{.kind = Kind::adam, .amsgrad = true},
        OptimizerOptions{.kind = Kind::sgd, .learning_rate = 0.1, .momentum = 0.9, .dampening = 0.3},
        OptimizerOptions{.kind = Kind::rmsprop},
        OptimizerOptions{.kind = Kind::rmsprop, .momentum = 0.9, .centered = true},
        OptimizerOptions{.kind = Kind::adagrad, .learning_rate = 0.01},
        OptimizerOptions{.kind = Kind::sgd, .learning_rate = 0.1, .clip_norm = 0.05}}) {
    expect_agreement(spec, optimizer);
  }
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
  ManualTwin twin(spec, {.learning_rate = 0.01}, draw_initial_parameters(spec, 1), torch::kDouble);
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
  spec.reduction = Reduction::sum;
  Twins sum(spec, {}, torch::kDouble);
  EXPECT_NEAR(mean.manual.forward(images, labels), sum.manual.forward(images, labels), 1e-13);
  EXPECT_NEAR(mean.autograd.forward(images, labels), sum.autograd.forward(images, labels), 1e-13);
  mean.manual.backward();
  sum.manual.backward();
  EXPECT_LE(relative_error(mean.manual.gradients()[0].tensor * 10, sum.manual.gradients()[0].tensor), 1e-13);
}

TEST_F(TwinsTest, DropoutMasksDependOnSeedAndStepAlone) {
  const MlpSpec spec{.inputs = 20, .hidden = {400, 300}, .classes = 5, .dropout = 0.25};
  const std::vector<Tensor> masks = draw_dropout_masks(spec, 50, 1, 7);
  ASSERT_EQ(masks.size(), 2);
  EXPECT_EQ(masks[0].sizes(), at::IntArrayRef({50, 400}));
  EXPECT_EQ(masks[1].sizes(), at::IntArrayRef({50, 300}));
  EXPECT_NEAR(masks[0].to(torch::kDouble).mean().item<double>(), 0.75,
              0.016);  // five standard errors of 20,000 draws
  EXPECT_TRUE(masks[0].equal(draw_dropout_masks(spec, 50, 1, 7)[0]));
  EXPECT_FALSE(masks[0].equal(draw_dropout_masks(spec, 50, 1, 8)[0]));
  EXPECT_FALSE(masks[0].equal(draw_dropout_masks(spec, 50, 2, 7)[0]));
}

TEST_F(TwinsTest, TheLearningRateOfBothCanBeSet) {
  const MlpSpec spec{.inputs = 8, .hidden = {6}, .classes = 4};
  Twins twins(spec, {.learning_rate = 1e-3}, torch::kDouble);
  const Tensor before = twins.manual.parameters()[0].tensor.clone();
  twins.autograd.set_learning_rate(0);
  twins.manual.set_learning_rate(0);
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
  void backward() override {}
  void update() override {}
  void set_learning_rate(double /*rate*/) override {}
  void set_training(bool /*training*/) override {}
  void set_dropout_masks(const std::vector<Tensor>& /*masks*/) override {}
  void keep_intermediate_gradients(bool /*keep*/) override {}
  Tensor logits() const override { return {}; }
  std::vector<NamedTensor> intermediates() const override { return {}; }
  std::vector<NamedTensor> parameters() const override { return gradients_; }
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
