// What the trainer reports of two twins, and which failures stop a run. The results of the twins are
// scripted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "stage.h"

namespace twingrad::trainer_test {

// ---- Two twins --------------------------------------------------------------------------------------------

/// Two twins whose weights part by 1/8 in each update, and their gradients by a few units in the last place.
struct Pair : Stage {
  explicit Pair(const TrainingOptions& training_options) : Stage(training_options) {
    const Tensor logits = at::ones({2, kClasses}, at::kDouble);
    for (PuppetTwin* twin : {&autograd, &manual}) {
      twin->gradient = {{"0.weight", at::tensor({1., 2.}, at::kDouble)},
                        {"0.bias", at::tensor({8., 2.}, at::kDouble)}};
      twin->weights[0].tensor.fill_(4);
      twin->weights.push_back({"0.bias", at::zeros({2}, at::kDouble)});
      twin->results = {{"logits", logits}};
      twin->state = {{"0.weight.exp_avg", at::full({2}, 8, at::kDouble)}};
    }
    manual.gradient[0].tensor[1] += std::exp2(-50);
    manual.gradient[1].tensor[0] += std::exp2(-49);
    manual.loss_of = [](const Tensor&, const Tensor&) { return 1 + std::exp2(-48); };
    autograd.loss_of = [](const Tensor&, const Tensor&) { return 1.; };
    manual.on_update = [this] {
      manual.weights[0].tensor[0] += 0.125;
      manual.state[0].tensor[1] += 0.5;
    };
  }
  TrainingResult go_together() { return go({&autograd, &manual}); }
};

TEST(TrainerAgreement, HasTheNumbersOfTheComparison) {
  Pair pair({.epochs = 2, .batch_size = 2, .compare_every = 2});
  pair.go_together();
  EXPECT_EQ(pair.events.log, (std::vector<std::string>{
                                 "checkpoint", "agreement", "epoch autograd", "epoch manual", "agreement",
                                 "test results", "checkpoint", "comparison", "epoch autograd", "epoch manual",
                                 "agreement", "test results", "checkpoint"}));
  std::vector<Agreement> all = pair.events.reports;
  ASSERT_EQ(all.size(), 3U);
  ASSERT_EQ(pair.events.comparisons.size(), 1U);
  all.insert(all.begin() + 2, pair.events.comparisons[0]);
  const std::vector<std::int64_t> epochs = {0, 1, 2, 2}, steps = {0, 3, 4, 6};
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Agreement& agreement = all[i];
    EXPECT_EQ(agreement.epoch, epochs[i]);
    EXPECT_EQ(agreement.step, steps[i]);
    EXPECT_EQ(agreement.max_abs_weight_difference, 0.125 * static_cast<double>(steps[i]));
    EXPECT_EQ(agreement.max_abs_optimizer_state_difference,
              i % 2 == 0 ? 0 : 0.5 * static_cast<double>(steps[i]))
        << "only at the end of an epoch";
    EXPECT_EQ(agreement.max_abs_gradient_difference, std::exp2(-49)) << "that of the loss is larger";
    EXPECT_EQ(agreement.max_rel_gradient_difference, std::exp2(-51));
    EXPECT_EQ(agreement.worst, "0.weight");
    EXPECT_EQ(agreement.gradients,
              (std::map<std::string, double>{{"0.weight", std::exp2(-51)}, {"0.bias", std::exp2(-52)}}));
    EXPECT_EQ(agreement.bound, 32 * std::exp2(-52)) << "32 roundings of the largest entry, of its size";
    EXPECT_EQ(agreement.tensors, 4);
    EXPECT_EQ(agreement.rows, i == 0 || i == 2 ? 2 : 1);
    EXPECT_EQ(agreement.rows_set_aside, 0);
    EXPECT_EQ(agreement.verdict, "same to rounding");
    EXPECT_EQ(agreement.autograd_loss, 1);
    EXPECT_EQ(agreement.manual_loss, 1 + std::exp2(-48));
  }
}

TEST(TrainerAgreement, StopsTheRunIfItDoesNotHold) {
  Pair pair({.epochs = 1, .batch_size = 2, .compare_every = 1});
  pair.manual.on_update = [&] { pair.manual.gradient[0].tensor.mul_(2); };
  EXPECT_EQ(pair.failure({&pair.autograd, &pair.manual}),
            "step 2: 0.weight.grad differs between the twins by 1 of its largest entry, more than rounding "
            "explains (7.1e-15): factor 2; at fault: layer 0");
  ASSERT_EQ(pair.events.reports.size(), 2U);
  EXPECT_EQ(pair.events.reports[1].epoch, 1);
  EXPECT_EQ(pair.events.reports[1].step, 1);
  EXPECT_EQ(pair.events.reports[1].verdict, "differs");
  Pair first({.epochs = 1, .batch_size = 2});
  first.manual.gradient[0].tensor[0] = 9;
  EXPECT_EQ(first.failure({&first.autograd, &first.manual}).substr(0, 54),
            "before the first update: 0.weight.grad differs between");
}

TEST(TrainerAgreement, IsZeroIfThereIsNothingToCompare) {
  Pair pair({.epochs = 1, .batch_size = 0});
  for (PuppetTwin* twin : {&pair.autograd, &pair.manual}) {
    twin->of_normalization = 1;
  }
  pair.go_together();
  ASSERT_EQ(pair.events.reports.size(), 2U);
  for (const Agreement& agreement : {pair.events.reports[0], Agreement()}) {
    EXPECT_EQ(agreement.epoch, 0);
    EXPECT_EQ(agreement.step, 0);
    EXPECT_EQ(agreement.max_abs_gradient_difference, 0);
    EXPECT_EQ(agreement.max_rel_gradient_difference, 0);
    EXPECT_EQ(agreement.max_abs_weight_difference, 0);
    EXPECT_EQ(agreement.max_abs_optimizer_state_difference, 0);
    EXPECT_EQ(agreement.bound, 0);
    EXPECT_EQ(agreement.tensors, 0);
    EXPECT_EQ(agreement.rows_set_aside, 0);
    EXPECT_EQ(agreement.worst, "");
    EXPECT_TRUE(agreement.gradients.empty());
  }
  EXPECT_EQ(pair.events.reports[0].verdict,
            "nothing to compare: the inputs of a normalization are equal up to rounding");
  EXPECT_EQ(pair.events.reports[0].rows, kImages);
  EXPECT_EQ(Agreement().rows, 0);
  EXPECT_EQ(Agreement().autograd_loss, 0);
  EXPECT_EQ(Agreement().manual_loss, 0);
}

TEST(TrainerAgreement, ComparesTheFirstRowsOfALargeBatch) {
  Stage stage({.epochs = 1, .batch_size = 0});
  const data::Dataset large = data::synthetic(1, 2100, 3, kClasses);
  const data::ImageTensors many(large.train, at::kCPU);
  for (PuppetTwin* twin : {&stage.autograd, &stage.manual}) {
    twin->results = {{"logits", at::ones({1, kClasses}, at::kDouble)}};
    twin->gradient = {{"0.weight", at::ones({2}, at::kDouble)}};
  }
  Trainer trainer(stage.spec, {&stage.autograd, &stage.manual}, many, stage.test, stage.options,
                  {&stage.events});
  trainer.run(stage.stop);
  ASSERT_FALSE(stage.events.reports.empty());
  EXPECT_EQ(stage.events.reports[0].rows, 2048);
  const PuppetTwin& twin = stage.manual;
  EXPECT_EQ(twin.labels_seen[0].size(0), 2048);
  EXPECT_TRUE(twin.images_seen[0].equal(twin.images_seen.at(2).slice(0, 0, 2048)));
  EXPECT_TRUE(twin.labels_seen[0].equal(twin.labels_seen.at(2).slice(0, 0, 2048)));
  EXPECT_EQ(twin.masks_seen[0][0].size(0), 2048);
}

// ---- Numbers that are not finite --------------------------------------------------------------------------

TEST(TrainerFailure, NamesTheFirstTensorThatIsNotFinite) {
  const double infinity = std::numeric_limits<double>::infinity();
  const Tensor good = at::ones({2}, at::kDouble), bad = at::tensor({1., NAN}, at::kDouble);
  struct Case {
    double loss;
    std::vector<NamedTensor> weights, results;
    std::string message;
  };
  const std::string help = "; a smaller --lr, --init uniform or --loss cross_entropy may help";
  const std::string tensor = "the first tensor with such an entry is ";
  for (const Case& of : std::vector<Case>{
           {NAN, {{"a", good}}, {{"r", good}, {"s", bad}}, "not a number; " + tensor + "s" + help},
           {infinity, {{"a", good}}, {{"r", bad}, {"s", bad}}, "infinite; " + tensor + "r" + help},
           {-infinity, {{"a", good}}, {{"u", Tensor()}}, "infinite; " + tensor + "the loss itself" + help},
           {NAN, {{"a", good}}, {}, "not a number; " + tensor + "the loss itself" + help}}) {
    Stage stage({.epochs = 1, .batch_size = 2});
    stage.manual.loss_of = [&](const Tensor&, const Tensor&) { return of.loss; };
    stage.manual.weights = of.weights;
    stage.manual.results = of.results;
    EXPECT_EQ(stage.failure({&stage.manual}), "step 1: the loss of the manual twin is " + of.message);
    const bool runs_forward = of.results.empty();
    EXPECT_EQ(stage.manual.calls.back(), runs_forward ? "forward 2" : "compute 2");
  }
}

TEST(TrainerFailure, NamesAWeightThatIsNotFinite) {
  Stage of_loss({.epochs = 1, .batch_size = 2});
  of_loss.manual.on_update = [&] { of_loss.manual.weights[0].tensor[1] = NAN; };
  of_loss.manual.loss_of = [&](const Tensor&, const Tensor&) {
    return of_loss.manual.weights[0].tensor.sum().item<double>();
  };
  EXPECT_THAT(of_loss.failure({&of_loss.manual}),
              ::testing::HasSubstr("step 2: the loss of the manual twin is not a number; the first tensor "
                                   "with such an entry is 0.weight;"));
  Stage of_update({.epochs = 1, .batch_size = 2});
  of_update.autograd.on_update = [&] { of_update.autograd.weights[0].tensor[1] = INFINITY; };
  EXPECT_EQ(of_update.failure({&of_update.autograd}),
            "step 3: the update of the autograd twin produced an entry in 0.weight that is not finite; a "
            "smaller --lr may help");
}

TEST(TrainerFailure, OfBothLossesIsReportedByTheStep) {
  Pair pair({.epochs = 1, .batch_size = 2});
  pair.manual.loss_of = pair.autograd.loss_of = [](const Tensor&, const Tensor&) { return NAN; };
  EXPECT_THAT(pair.failure({&pair.autograd, &pair.manual}),
              ::testing::StartsWith("step 1: the loss of the autograd twin is not a number"));
  EXPECT_TRUE(pair.events.reports.empty());
}

}  // namespace twingrad::trainer_test
