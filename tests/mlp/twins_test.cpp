#include "twins.h"

#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>

#include "../optim/every_combination.h"
#include "twingrad/layers/activations.h"
#include "twingrad/mlp/training_loss.h"
#include "twingrad/ops/matmul.h"

namespace twingrad {
namespace {

using at::Tensor;
using testing::expect_twins_agree;
using testing::relative;
using testing::Twins;
using testing::TwinsTest;

std::vector<std::string> names_of(const std::vector<NamedTensor>& tensors) {
  std::vector<std::string> names;
  for (const NamedTensor& tensor : tensors) {
    names.push_back(tensor.name);
  }
  return names;
}

MlpSpec small_network() { return {.inputs = 8, .hidden = {6}, .classes = 4}; }

TEST_F(TwinsTest, ABatchOfIgnoredRowsHasLossAndGradientZero) {
  for (const LossKind loss : {LossKind::cross_entropy, LossKind::nll}) {
    for (const nn::Reduction reduction : {nn::Reduction::mean, nn::Reduction::sum}) {
      for (const std::vector<double>& weights : {std::vector<double>{}, {0.5, 2, 1, 3}}) {
        MlpSpec spec{.inputs = 8, .hidden = {6}, .classes = 4, .loss = loss, .reduction = reduction};
        spec.class_weights = weights;
        spec.ignore_index = 2;
        spec.label_smoothing = loss == LossKind::cross_entropy ? 0.1 : 0;
        Twins twins(spec, {}, at::kDouble);
        const Tensor images = at::rand({5, 8}, at::kDouble);
        for (Twin* twin : twins.both) {
          EXPECT_EQ(twin->forward(images, at::full({5}, 2, at::kLong)), 0);
          twin->backward();
          for (const NamedTensor& gradient : twin->gradients()) {
            EXPECT_EQ(gradient.tensor.abs().max().item<double>(), 0) << twin->name() << " " << gradient.name;
          }
        }
      }
    }
  }
}

TEST_F(TwinsTest, ReturnTheLossAsATensorToo) {
  for (const nn::Reduction reduction : {nn::Reduction::mean, nn::Reduction::sum}) {
    for (const LossEntry& loss : losses()) {
      for (const bool weighted : {false, true}) {
        MlpSpec spec{.inputs = 8, .hidden = {6}, .classes = 4, .loss = loss.kind, .reduction = reduction};
        if (weighted && loss.target == LossEntry::Target::class_index) {
          spec.class_weights = {0.5, 2, 1, 3};
          spec.ignore_index = 2;
        }
        Twins twins(spec, {}, at::kDouble);
        const Batch batch = twins.random_batch(7);
        for (Twin* twin : twins.both) {
          const double expected = twin->compute_gradients(batch.images, batch.labels);
          const std::vector<NamedTensor> gradients = twin->gradients();
          const Tensor first = gradients[0].tensor.clone();
          gradients[0].tensor.zero_();
          const Tensor found = twin->enqueue_gradients(batch.images, batch.labels);
          EXPECT_EQ(found.dim(), 0);
          EXPECT_NEAR(found.item<double>(), expected, 1e-14 * std::abs(expected))
              << loss.name << " " << twin->name();
          EXPECT_TRUE(twin->gradients()[0].tensor.equal(first)) << loss.name << " " << twin->name();
        }
      }
    }
  }
}

TEST_F(TwinsTest, KnowTheDistancesFromTheKinksInsideABlockToo) {
  MlpSpec spec{.inputs = 8, .hidden = {6, 6}, .classes = 4, .activation = "hardtanh"};
  spec.residual = true;
  spec.loss = LossKind::l1;
  Twins twins(spec, {}, at::kDouble);
  const Batch batch = twins.random_batch(5);
  for (Twin* twin : twins.both) {
    twin->forward(batch.images, batch.labels);
    const std::vector<NamedTensor> distances = twin->kink_distances();
    EXPECT_THAT(names_of(distances), ::testing::ElementsAre("0.output", "2.0.output", "logits"));
    const Tensor x = find_tensor(twin->intermediates(), "2.0.output", {5, 6});
    EXPECT_TRUE(distances[1].tensor.equal(at::cat({x + 1, x - 1}, 1))) << "kinks at -1 and 1";
    const Tensor target = at::one_hot(batch.labels, 4);
    EXPECT_LE(relative(find_tensor(twin->intermediates(), "logits", {5, 4}) - target, distances[2].tensor),
              1e-14)
        << "an L1 loss has its kink at the target";
  }
  spec.activation = "tanh";
  spec.loss = LossKind::mse;
  Twins smooth(spec, {}, at::kDouble);
  smooth.step();
  EXPECT_TRUE(smooth.manual.kink_distances().empty());
}

TEST_F(TwinsTest, AgreeInEvaluationAfterTraining) {
  const MlpSpec spec{
      .inputs = 20, .hidden = {16}, .classes = 5, .normalization = Normalization::batch, .dropout = 0.3};
  Twins twins(spec, {}, at::kDouble);
  for (int i = 0; i < 5; ++i) {
    twins.step();
  }
  const Tensor images = at::rand({7, 20}, at::kDouble);
  const Tensor labels = at::randint(0, 5, {7}, at::kLong);
  const std::vector<Tensor> masks = draw_dropout_masks(spec, 7, 1, 1);
  double in_training = 0;
  for (Twin* twin : twins.both) {
    twin->set_dropout_masks(masks);
    in_training = twin->forward(images, labels);  // updates the running statistics
  }
  for (Twin* twin : twins.both) {
    twin->eval();
    twin->forward(images, labels);
  }
  EXPECT_LE(relative(twins.autograd.logits(), twins.manual.logits()), 1e-12) << "running statistics agree";
  EXPECT_NE(twins.manual.forward(images, labels), in_training);
}

TEST_F(TwinsTest, PredictReturnsTheLogitsOfTheseImagesWithoutALoss) {
  MlpSpec spec = small_network();
  spec.loss = LossKind::softmax_log;  // the logits are not the last result
  Twins twins(spec, {}, at::kDouble);
  for (const std::int64_t rows : {3, 9, 3}) {
    twins.step();
    const Tensor images = at::rand({rows, spec.inputs}, at::kDouble);
    std::vector<Tensor> predicted;
    for (Twin* twin : twins.both) {
      predicted.push_back(twin->predict(images).clone());
      EXPECT_EQ(predicted.back().sizes(), at::IntArrayRef({rows, spec.classes})) << twin->name();
      twin->forward(images, at::zeros({rows}, at::kLong));
      EXPECT_TRUE(predicted.back().equal(twin->logits())) << twin->name();
    }
    EXPECT_LE(relative(predicted[0], predicted[1]), 1e-12);
  }
}

TEST_F(TwinsTest, EvaluateWithBatchStatisticsIfThereAreNoRunningOnes) {
  MlpSpec spec{.inputs = 20, .hidden = {16}, .classes = 5, .normalization = Normalization::batch};
  spec.normalization_statistics = false;
  Twins twins(spec, {}, at::kDouble);
  twins.step();
  const Tensor images = at::rand({7, 20}, at::kDouble);
  const Tensor labels = at::randint(0, 5, {7}, at::kLong);
  for (Twin* twin : twins.both) {
    const double in_training = twin->forward(images, labels);
    twin->eval();
    EXPECT_NEAR(twin->forward(images, labels), in_training, 1e-14) << "the same statistics, " << twin->name();
  }
  EXPECT_LE(relative(twins.autograd.logits(), twins.manual.logits()), 1e-12);
}

/// Every optimizer with each of its options.
std::vector<OptimizerOptions> optimizers() {
  std::vector<OptimizerOptions> all;
  for (const auto& [name, kind] : optimizer_kinds()) {
    all.push_back(default_options(kind));
    for (const testing::OptionChange& change : testing::option_changes(kind)) {
      OptimizerOptions options = default_options(kind);
      options.momentum = 0.9;
      change(options);
      all.push_back(options);
    }
  }
  for (const double norm_type : {2.0, 1.0, 3.0, std::numeric_limits<double>::infinity()}) {
    all.push_back({.kind = OptimizerOptions::Kind::sgd,
                   .lr = 0.1,
                   .momentum = 0.9,
                   .clip_norm = 0.05,
                   .clip_norm_type = norm_type});
  }
  return all;
}

TEST_F(TwinsTest, AgreeForEveryOptimizerAndItsState) {
  for (const OptimizerOptions& optimizer : optimizers()) {
    SCOPED_TRACE(static_cast<int>(optimizer.kind));
    expect_twins_agree({.inputs = 20, .hidden = {16}, .classes = 5}, optimizer);
  }
}

TEST_F(TwinsTest, NameTheOptimizerStateAsInTorchOptim) {
  using ::testing::UnorderedElementsAre;
  const auto expect_names = [](const OptimizerOptions& optimizer, const auto& names) {
    Twins twins({.inputs = 4, .hidden = {}, .classes = 3}, optimizer, at::kDouble);
    for (Twin* twin : twins.both) {
      EXPECT_TRUE(twin->optimizer_state().empty()) << "before the first step";
    }
    twins.step();
    for (Twin* twin : twins.both) {
      EXPECT_THAT(names_of(twin->optimizer_state()), names) << twin->name();
    }
  };
  using Kind = OptimizerOptions::Kind;
  expect_names({.kind = Kind::sgd}, ::testing::IsEmpty());
  expect_names({.kind = Kind::sgd, .momentum = 0.9},
               UnorderedElementsAre("0.weight.momentum_buffer", "0.bias.momentum_buffer"));
  expect_names({.amsgrad = true},
               UnorderedElementsAre("0.weight.step", "0.weight.exp_avg", "0.weight.exp_avg_sq",
                                    "0.weight.max_exp_avg_sq", "0.bias.step", "0.bias.exp_avg",
                                    "0.bias.exp_avg_sq", "0.bias.max_exp_avg_sq"));
  expect_names({.kind = Kind::rmsprop, .centered = true},
               UnorderedElementsAre("0.weight.step", "0.weight.square_avg", "0.weight.grad_avg",
                                    "0.bias.step", "0.bias.square_avg", "0.bias.grad_avg"));
  expect_names({.kind = Kind::adagrad},
               UnorderedElementsAre("0.weight.step", "0.weight.sum", "0.bias.step", "0.bias.sum"));
}

TEST_F(TwinsTest, ContinueFromEachOthersOptimizerState) {
  const MlpSpec spec{.inputs = 20, .hidden = {16}, .classes = 5};
  for (const OptimizerOptions& optimizer : optimizers()) {
    SCOPED_TRACE(static_cast<int>(optimizer.kind));
    Twins first(spec, optimizer, at::kDouble);
    first.step();
    first.step();
    Twins second(spec, optimizer, at::kDouble);
    load_network(second.autograd, first.manual.parameters());
    load_network(second.manual, first.autograd.parameters());
    second.autograd.load_optimizer_state(first.manual.optimizer_state());
    second.manual.load_optimizer_state(first.autograd.optimizer_state());
    second.step();
    EXPECT_LE(second.weight_difference(), 1e-12);
    EXPECT_LE(compare_optimizer_state(second.autograd, second.manual).relative, 1e-11);
  }
}

TEST_F(TwinsTest, RejectAnIncompleteOptimizerState) {
  Twins twins({.inputs = 4, .hidden = {}, .classes = 3}, {}, at::kDouble);
  twins.step();
  for (Twin* twin : twins.both) {
    const std::vector<NamedTensor> state = twin->optimizer_state();
    for (std::size_t i = 0; i < state.size(); ++i) {
      std::vector<NamedTensor> incomplete = state;
      incomplete.erase(incomplete.begin() + static_cast<std::ptrdiff_t>(i));
      EXPECT_THROW(twin->load_optimizer_state(incomplete), std::invalid_argument) << state[i].name;
    }
  }
}

TEST_F(TwinsTest, CompareEveryParameterAndEveryIntermediateByName) {
  Twins twins({.inputs = 8, .hidden = {6}, .classes = 4, .loss = LossKind::softmax_log}, {}, at::kDouble);
  twins.step();
  EXPECT_THAT(names_of(twins.manual.gradients()),
              ::testing::ElementsAre("0.weight", "0.bias", "2.weight", "2.bias", "0.output", "1.output",
                                     "logits", "3.output", "4.output"));
  Twins with_block({.inputs = 8, .hidden = {6, 6}, .classes = 4, .residual = true}, {}, at::kDouble);
  with_block.step();
  EXPECT_THAT(
      names_of(with_block.manual.gradients()),
      ::testing::ElementsAre("0.weight", "0.bias", "2.0.weight", "2.0.bias", "3.weight", "3.bias", "0.output",
                             "1.output", "2.output", "logits", "2.0.output", "2.1.output"));
}

TEST_F(TwinsTest, StartWithTheSameWeights) {
  EXPECT_EQ(Twins(small_network(), {}, at::kFloat).weight_difference(), 0);
}

TEST_F(TwinsTest, TheManualTwinTrainsWithGradientsGloballyDisabled) {
  const c10::NoGradGuard no_grad;
  ManualTwin twin(small_network(), {.lr = 0.01}, draw_initial_parameters(small_network(), 1), at::kDouble);
  const Tensor images = at::rand({32, 8}, at::kDouble);
  const Tensor labels = at::randint(0, 4, {32}, at::kLong);
  const double first = twin.forward(images, labels);
  for (int step = 0; step < 300; ++step) {
    twin.forward(images, labels);
    twin.backward();
    twin.update();
  }
  EXPECT_LT(twin.forward(images, labels), 0.8 * first);
}

TEST_F(TwinsTest, NoTensorOfTheManualTwinRequiresAGradient) {
  Twins twins(small_network(), {}, at::kDouble);
  twins.step();
  for (const auto& tensors :
       {twins.manual.parameters(), twins.manual.gradients(), twins.manual.intermediates()}) {
    for (const NamedTensor& named : tensors) {
      EXPECT_FALSE(named.tensor.requires_grad()) << named.name;
    }
  }
}

TEST_F(TwinsTest, ParametersAreViewsIntoOneVector) {
  Twins twins(small_network(), {}, at::kDouble);
  const void* storage = twins.manual.parameters().front().tensor.storage().data();
  for (const NamedTensor& named : twins.manual.parameters()) {
    EXPECT_EQ(named.tensor.storage().data(), storage);
  }
}

TEST_F(TwinsTest, ForwardReturnsTheMeanForTheSumReductionToo) {
  const Tensor images = at::rand({10, 8}, at::kDouble);
  const Tensor labels = at::randint(0, 4, {10}, at::kLong);
  MlpSpec spec{.inputs = 8, .hidden = {6}, .classes = 4};
  Twins mean(spec, {}, at::kDouble);
  spec.reduction = nn::Reduction::sum;
  Twins sum(spec, {}, at::kDouble);
  EXPECT_NEAR(mean.manual.forward(images, labels), sum.manual.forward(images, labels), 1e-13);
  EXPECT_NEAR(mean.autograd.forward(images, labels), sum.autograd.forward(images, labels), 1e-13);
  mean.manual.backward();
  sum.manual.backward();
  EXPECT_LE(relative(mean.manual.gradients()[0].tensor * 10, sum.manual.gradients()[0].tensor), 1e-13);
}

TEST_F(TwinsTest, SetLrChangesTheLearningRateOfBothTwins) {
  Twins twins(small_network(), {.lr = 1e-3}, at::kDouble);
  const Tensor before = twins.manual.parameters()[0].tensor.clone();
  twins.autograd.set_lr(0);
  twins.manual.set_lr(0);
  twins.step();
  EXPECT_TRUE(twins.manual.parameters()[0].tensor.equal(before));
  EXPECT_TRUE(twins.autograd.parameters()[0].tensor.equal(before));
}

// ---- The comparison ----

TEST(LargestDifference, IsRelativeToTheLargestEntryAndNamesTheWorst) {
  const LargestDifference difference =
      largest_difference({{"a", at::tensor({100.0, 1.0})}, {"b", at::tensor({1.0, 1.0})}},
                         {{"a", at::tensor({100.0, 2.0})}, {"b", at::tensor({1.0, 1.5})}});
  EXPECT_DOUBLE_EQ(difference.absolute, 1);
  EXPECT_DOUBLE_EQ(difference.relative, 0.5);
  EXPECT_EQ(difference.worst, "b");
}

TEST(LargestDifference, PairsByNameInAnyOrder) {
  const NamedTensor a = {"a", at::ones({2})};
  const NamedTensor b = {"b", at::zeros({2})};
  EXPECT_EQ(largest_difference({a, b}, {b, a}).absolute, 0);
}

TEST(LargestDifference, IsInfiniteForMissingTensors) {
  const std::vector<NamedTensor> some = {{"a", at::zeros({2})}}, none;
  for (const auto& [expected, actual] :
       {std::pair(some, none), std::pair(none, some), std::pair(none, none)}) {
    EXPECT_EQ(largest_difference(expected, actual).absolute, std::numeric_limits<double>::infinity());
  }
  EXPECT_EQ(largest_difference(some, none).worst, "a");
  EXPECT_EQ(largest_difference(none, some).worst, "a");
}

TEST(LargestDifference, IsInfiniteForIncomparableTensors) {
  const double infinity = std::numeric_limits<double>::infinity();
  const Tensor one = at::ones({3});
  const auto relative_of = [&](const Tensor& a, const Tensor& m) {
    return largest_difference({{"a", a}}, {{"a", m}}).relative;
  };
  EXPECT_EQ(relative_of(at::zeros({3}), at::zeros({3})), 0) << "0/0";
  EXPECT_EQ(relative_of(at::zeros({3}), one), infinity) << "x/0";
  EXPECT_EQ(relative_of(one, one * NAN), infinity) << "NaN in the manual twin";
  EXPECT_EQ(relative_of(one * NAN, one), infinity) << "NaN in autograd";
  EXPECT_EQ(relative_of(one * NAN, one * NAN), infinity) << "NaN in both";
  EXPECT_EQ(relative_of(one * INFINITY, one * INFINITY), infinity) << "infinity in both";
  EXPECT_EQ(relative_of(one, at::ones({4})), infinity) << "another shape";
  EXPECT_EQ(relative_of(one, at::ones({1})), infinity) << "a shape that would broadcast";
  EXPECT_EQ(relative_of(one, Tensor()), infinity) << "an undefined tensor";
  EXPECT_EQ(relative_of(Tensor(), one), infinity) << "an undefined tensor of autograd";
  EXPECT_EQ(largest_difference({{"a", one}}, {{"b", one}}).relative, infinity) << "another name";
  EXPECT_EQ(largest_difference({{"a", one}}, {}).relative, infinity) << "a missing tensor";
  EXPECT_EQ(largest_difference({}, {{"a", one}}).relative, infinity) << "an additional tensor";
  EXPECT_EQ(largest_difference({}, {}).relative, infinity) << "nothing to compare";
}

}  // namespace
}  // namespace twingrad
