#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <chrono>
#include <cmath>
#include <set>

#include "twingrad/compare/distance.h"
#include "twingrad/data/batches.h"
#include "twingrad/data/dataset.h"
#include "twingrad/mlp/autograd_twin.h"
#include "twingrad/mlp/manual_twin.h"
#include "twingrad/runtime/error.h"
#include "twingrad/runtime/threads.h"
#include "twingrad/training/benchmark.h"
#include "twingrad/training/trainer.h"

namespace twingrad {
namespace {

using at::Tensor;

// ---- Batches ----------------------------------------------------------------------------------------------

TEST(Batches, GatherWritesPixelsOver255) {
  const data::Dataset dataset = data::synthetic(1, 40, 10);
  const data::ImageTensors images(dataset.train, at::kCPU);
  for (const at::ScalarType dtype : {torch::kFloat, torch::kDouble}) {
    Tensor batch = torch::empty({0}, dtype);
    Tensor labels = torch::empty({0}, torch::kLong);
    images.gather(torch::tensor({7, 0, 39}, torch::kLong), batch, labels);
    ASSERT_EQ(batch.sizes(), at::IntArrayRef({3, 784}));
    for (std::int64_t i = 0; i < 784; ++i) {
      EXPECT_EQ(batch[0][i].item<double>(),
                dtype == torch::kFloat ? static_cast<float>(dataset.train.pixels[7 * 784 + i]) / 255.0F
                                       : dataset.train.pixels[7 * 784 + i] / 255.0);
    }
    EXPECT_EQ(labels[2].item<int>(), dataset.train.labels[39]);
  }
}

TEST(Batches, BothGatherPathsGiveTheSameBits) {
  const data::Dataset dataset = data::synthetic(2, 100, 10);
  const data::ImageTensors images(dataset.train, at::kCPU);
  const Tensor indices = data::shuffled_indices(100, 1, 1);
  for (const at::ScalarType dtype : {torch::kFloat, torch::kDouble}) {
    Tensor fast = torch::empty({0}, dtype);
    Tensor general = torch::empty({0}, dtype);
    Tensor fast_labels = torch::empty({0}, torch::kLong);
    Tensor general_labels = torch::empty({0}, torch::kLong);
    images.gather(indices, fast, fast_labels);
    images.gather_by_tensor_operations(indices, general, general_labels);
    EXPECT_TRUE(fast.equal(general));
    EXPECT_TRUE(fast_labels.equal(general_labels));
  }
}

std::vector<std::int64_t> order(std::int64_t count, std::uint64_t seed, std::int64_t epoch) {
  const Tensor indices = data::shuffled_indices(count, seed, epoch);
  return {indices.data_ptr<std::int64_t>(), indices.data_ptr<std::int64_t>() + count};
}

TEST(Batches, ShuffleIsAPermutationThatDependsOnSeedAndEpoch) {
  std::vector<std::int64_t> sorted = order(1000, 1, 1);
  std::sort(sorted.begin(), sorted.end());
  for (std::int64_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(sorted[i], i);
  }
  EXPECT_EQ(order(1000, 1, 1), order(1000, 1, 1));
  EXPECT_NE(order(1000, 1, 1), order(1000, 1, 2)) << "each epoch is reshuffled";
  EXPECT_NE(order(1000, 1, 1), order(1000, 2, 1));
  EXPECT_EQ(order(1, 1, 1), std::vector<std::int64_t>{0});
}

TEST(Batches, EveryOrderOfThreeIsEquallyLikely) {
  std::map<std::vector<std::int64_t>, int> counts;
  for (int seed = 0; seed < 6000; ++seed) {
    ++counts[order(3, seed, 1)];
  }
  ASSERT_EQ(counts.size(), 6);
  for (const auto& [permutation, count] : counts) {
    EXPECT_NEAR(count, 1000, 150);  // five standard deviations of a binomial with n = 6000, p = 1/6
  }
}

// ---- The trainer ------------------------------------------------------------------------------------------

/// Records all events.
class Recorder final : public TrainingObserver {
 public:
  void on_epoch(const EpochMetrics& metrics) override { epochs.push_back(metrics); }
  void on_progress(const Progress& event) override { progress.push_back(event); }
  void on_agreement(const Agreement& agreement, bool is_report) override {
    (is_report ? agreements : between_reports).push_back(agreement);
  }
  std::vector<EpochMetrics> epochs;
  std::vector<Progress> progress;
  std::vector<Agreement> agreements, between_reports;
};

/// A training run with its twins, data and options.
struct Training {
  Training(const data::Dataset& dataset, MlpSpec network, const OptimizerOptions& optimizer,
           const TrainingOptions& training_options)
      : spec(std::move(network)),
        train(dataset.train, at::kCPU),
        test(dataset.test, at::kCPU),
        initial(draw_initial_parameters(spec, training_options.seed)),
        autograd(spec, optimizer, initial, training_options.dtype),
        manual(spec, optimizer, initial, training_options.dtype),
        options(training_options) {}

  TrainingResult go(const std::vector<Twin*>& twins) {
    Trainer trainer(spec, twins, train, test, options, {&recorder});
    return trainer.run(stop);
  }
  TrainingResult go() { return go({&autograd, &manual}); }

  MlpSpec spec;
  data::ImageTensors train, test;
  Tensor initial;
  AutogradTwin autograd;
  ManualTwin manual;
  TrainingOptions options;
  Recorder recorder;
  std::atomic<bool> stop = false;
};

class TrainerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { use_threads({.aten = 1, .blas = 1}); }
  const data::Dataset dataset = data::synthetic(1, 300, 100);
  const MlpSpec spec{.inputs = 784, .hidden = {32}};
};

Tensor flat_parameters(const Twin& twin) {
  std::vector<Tensor> flat;
  for (const NamedTensor& named : twin.parameters()) {
    flat.push_back(named.tensor.reshape({-1}).clone());
  }
  return torch::cat(flat);
}

TEST_F(TrainerTest, BothTwinsLearnAndReachTheSameAccuracy) {
  Training run(dataset, spec, {}, {.epochs = 5, .batch_size = 32});
  const TrainingResult result = run.go();
  ASSERT_EQ(result.last.size(), 2);
  EXPECT_EQ(result.last[0].twin, "autograd");
  EXPECT_EQ(result.last[1].twin, "manual");
  EXPECT_GT(result.last[1].test_accuracy, 0.9);
  EXPECT_NEAR(result.last[0].test_accuracy, result.last[1].test_accuracy, 0.011);
  EXPECT_EQ(result.steps, 5 * 10) << "nine batches of 32 and one of 12";
}

TEST_F(TrainerTest, ComparesBeforeTheFirstUpdateAndInEveryEpoch) {
  Training run(dataset, spec, {}, {.epochs = 2, .batch_size = 32, .dtype = torch::kDouble});
  run.go();
  ASSERT_EQ(run.recorder.agreements.size(), 3);
  EXPECT_EQ(run.recorder.agreements[0].epoch, 0);
  EXPECT_EQ(run.recorder.agreements[0].step, 0);
  EXPECT_EQ(run.recorder.agreements[0].max_abs_weight_difference, 0);
  EXPECT_EQ(run.recorder.agreements[1].step, 10);
  EXPECT_EQ(run.recorder.agreements[2].step, 20);
  for (const Agreement& agreement : run.recorder.agreements) {
    EXPECT_LE(agreement.max_rel_gradient_difference, 1e-12);
    EXPECT_LE(agreement.max_abs_weight_difference, 1e-12);
    EXPECT_LE(agreement.max_abs_optimizer_state_difference, 1e-12);
    EXPECT_GT(agreement.bound, 0);
    EXPECT_LE(agreement.max_rel_gradient_difference, agreement.bound);
    EXPECT_FALSE(agreement.worst.empty());
    EXPECT_EQ(agreement.verdict, "same to rounding");
    EXPECT_EQ(agreement.tensors, 9);
    EXPECT_EQ(agreement.rows, agreement.epoch == 0 ? 32 : 12) << "the last batch of the epoch";
  }
  EXPECT_GT(run.recorder.agreements[2].max_abs_optimizer_state_difference, 0) << "rounding";
}

TEST_F(TrainerTest, EitherTwinTrainsAlone) {
  Training both(dataset, spec, {}, {.epochs = 1, .batch_size = 32});
  both.go();
  Training autograd(dataset, spec, {}, {.epochs = 1, .batch_size = 32});
  autograd.go({&autograd.autograd});
  Training manual(dataset, spec, {}, {.epochs = 1, .batch_size = 32});
  manual.go({&manual.manual});
  EXPECT_TRUE(flat_parameters(both.autograd).equal(flat_parameters(autograd.autograd)))
      << "training in lockstep changes nothing";
  EXPECT_TRUE(flat_parameters(both.manual).equal(flat_parameters(manual.manual)));
  EXPECT_TRUE(manual.recorder.agreements.empty());
}

TEST_F(TrainerTest, SameSeedGivesTheSameBits) {
  std::vector<Tensor> autograd;
  std::vector<Tensor> manual;
  for (const std::uint64_t seed : {1, 1, 2}) {
    Training run(dataset, spec, {}, {.epochs = 2, .batch_size = 32, .seed = seed});
    run.go();
    autograd.push_back(flat_parameters(run.autograd));
    manual.push_back(flat_parameters(run.manual));
  }
  EXPECT_TRUE(autograd[0].equal(autograd[1]));
  EXPECT_TRUE(manual[0].equal(manual[1]));
  EXPECT_FALSE(manual[0].equal(manual[2]));
}

TEST_F(TrainerTest, FullBatchIsOneStepPerEpoch) {
  Training run(dataset, spec, {}, {.epochs = 3, .batch_size = 0});
  EXPECT_EQ(run.go().steps, 3);
}

TEST_F(TrainerTest, BatchLargerThanTheDataIsAFullBatch) {
  Training run(dataset, spec, {}, {.epochs = 2, .batch_size = 1000});
  EXPECT_EQ(run.go().steps, 2);
}

TEST_F(TrainerTest, ReportsTheFirstTheLastAndEveryNthEpoch) {
  Training run(dataset, spec, {}, {.epochs = 8, .batch_size = 0, .evaluate_every = 3});
  run.go({&run.manual});
  std::vector<std::int64_t> epochs;
  for (const EpochMetrics& metrics : run.recorder.epochs) {
    epochs.push_back(metrics.epoch);
  }
  EXPECT_EQ(epochs, (std::vector<std::int64_t>{1, 3, 6, 8}));
}

TEST_F(TrainerTest, EpochLossIsTheMeanOverImagesBeforeTheirUpdate) {
  Training run(dataset, spec, {.lr = 0}, {.epochs = 1, .batch_size = 32, .dtype = torch::kDouble});
  run.go({&run.manual});  // a learning rate of 0: the weights are the same for every batch
  Tensor images = torch::empty({0}, torch::kDouble);
  Tensor labels = torch::empty({0}, torch::kLong);
  run.train.gather(torch::arange(300), images, labels);
  EXPECT_NEAR(run.manual.forward(images, labels), run.recorder.epochs[0].train_loss, 1e-12);
  const double accuracy = (run.manual.logits().argmax(1) == labels).to(torch::kDouble).mean().item<double>();
  EXPECT_NEAR(accuracy, run.recorder.epochs[0].train_accuracy, 1e-12);
}

TEST_F(TrainerTest, TestLossIsTheMeanOverAllTestImages) {
  const data::Dataset many = data::synthetic(1, 40, 2345);  // more than are evaluated at once
  Training run(many, spec, {}, {.epochs = 1, .batch_size = 40, .dtype = torch::kDouble});
  run.go();
  Tensor images = torch::empty({0}, torch::kDouble), labels = torch::empty({0}, torch::kLong);
  run.test.gather(torch::arange(2345), images, labels);
  ASSERT_EQ(run.recorder.epochs.size(), 2U) << "of both twins";
  for (const EpochMetrics& epoch : run.recorder.epochs) {
    EXPECT_NEAR(run.manual.forward(images, labels), epoch.test_loss, 1e-12);
    const Tensor is_correct = run.manual.logits().argmax(1) == labels;
    EXPECT_NEAR(is_correct.to(torch::kDouble).mean().item<double>(), epoch.test_accuracy, 1e-12);
  }
}

TEST_F(TrainerTest, StopsAfterTheCurrentStep) {
  Training run(dataset, spec, {}, {.epochs = 1000, .batch_size = 32});
  run.stop = true;
  const TrainingResult result = run.go();
  EXPECT_TRUE(result.interrupted);
  EXPECT_EQ(result.steps, 1);
}

/// Stops the run at the end of the first epoch.
class Stopper final : public TrainingObserver {
 public:
  explicit Stopper(std::atomic<bool>& stop) : stop_(stop) {}
  void on_epoch(const EpochMetrics& /*metrics*/) override { stop_ = true; }

 private:
  std::atomic<bool>& stop_;
};

TEST_F(TrainerTest, StopsAtTheEndOfAnEpoch) {
  for (const std::int64_t epochs : {1, 3}) {
    Training run(dataset, spec, {}, {.epochs = epochs, .batch_size = 32});
    Stopper stopper(run.stop);
    Trainer trainer(spec, {&run.autograd, &run.manual}, run.train, run.test, run.options, {&stopper});
    const TrainingResult result = trainer.run(run.stop);
    EXPECT_EQ(result.steps, 10);
    EXPECT_EQ(result.interrupted, epochs > 1) << "a finished run is not interrupted";
  }
}

TEST_F(TrainerTest, ReportsItsTimeAndProgress) {
  constexpr std::int64_t kEpochs = 300;
  const double all = static_cast<double>(kEpochs * dataset.train.count);
  Training run(dataset, spec, {}, {.epochs = kEpochs, .batch_size = 32});
  const auto start = std::chrono::steady_clock::now();
  const TrainingResult result = run.go();
  const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  double seconds = 0;
  for (const auto& [twin, of_twin] : result.seconds) {
    EXPECT_GT(of_twin, 0) << twin;
    seconds += of_twin;
    const StepSeconds& parts = result.seconds_by_part.at(twin);
    EXPECT_NEAR(parts.gather + parts.forward + parts.backward + parts.optimizer, of_twin, 1e-9 * of_twin);
  }
  EXPECT_LE(seconds, elapsed);
  ASSERT_FALSE(run.recorder.progress.empty());
  for (const Progress& progress : run.recorder.progress) {
    EXPECT_EQ(progress.epochs, kEpochs);
    EXPECT_GE(progress.fraction_of_epoch, 0);
    EXPECT_LE(progress.fraction_of_epoch, 1);
    const double done =
        (static_cast<double>(progress.epoch - 1) + progress.fraction_of_epoch) * all / kEpochs;
    EXPECT_NEAR(progress.seconds_left * progress.samples_per_second, all - done, 1e-6 * all);
    EXPECT_GE(progress.samples_per_second * elapsed, done * (1 - 1e-9));
  }
}

std::string failure_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const CheckFailed& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST_F(TrainerTest, NonFiniteLossIsReportedWithStepTwinAndTensor) {
  // Weights from N(0, 1) give logits in the hundreds: in float32 the exercise's softmax overflows in the
  // first step.
  const MlpSpec overflowing{.inputs = 784,
                            .hidden = {100},
                            .loss = LossKind::exercise_softmax_log,
                            .initialization = Initialization::normal};
  Training run(dataset, overflowing, {}, {.epochs = 1, .batch_size = 32});
  const std::string message = failure_of([&] { run.go({&run.manual}); });
  EXPECT_THAT(message, ::testing::HasSubstr("step 1: the loss of the manual twin is not a number"));
  EXPECT_THAT(message, ::testing::HasSubstr("3.output"));
}

/// A manual twin with a bug, after some updates: one gradient is scaled.
class BuggyTwin final : public ManualTwin {
 public:
  using ManualTwin::ManualTwin;
  void backward() override {
    ManualTwin::backward();
    if (updates_ >= updates_before) {
      gradients()[2].tensor.mul_(factor);
    }
  }
  void update() override {
    ++updates_;
    ManualTwin::update();
  }
  double factor = 1;
  int updates_before = 0;

 private:
  int updates_ = 0;
};

TEST_F(TrainerTest, BugInOneGradientStopsTheRunAndNamesTheTensor) {
  for (const at::ScalarType dtype : {torch::kFloat, torch::kDouble}) {
    Training run(dataset, spec, {}, {.epochs = 1, .batch_size = 32, .dtype = dtype});
    BuggyTwin buggy(spec, {}, run.initial, dtype);
    buggy.factor = 1 + (dtype == torch::kFloat ? 1e-3 : 1e-11);
    const std::string message = failure_of([&] { run.go({&run.autograd, &buggy}); });
    EXPECT_THAT(message, ::testing::HasSubstr("2.weight"));
    EXPECT_THAT(message, ::testing::HasSubstr("before the first update"));
  }
}

TEST_F(TrainerTest, ABugThatAppearsLaterStopsTheRunAtTheNextReport) {
  Training run(dataset, spec, {}, {.epochs = 3, .batch_size = 32});
  BuggyTwin buggy(spec, {}, run.initial, torch::kFloat);
  buggy.updates_before = 15;
  buggy.factor = 2;
  const std::string message = failure_of([&] { run.go({&run.autograd, &buggy}); });
  EXPECT_THAT(message,
              ::testing::AllOf(::testing::StartsWith("step 20: 2.weight"), ::testing::HasSubstr("factor 2"),
                               ::testing::HasSubstr("at fault: layer 2, linear")));
  ASSERT_EQ(run.recorder.agreements.size(), 3) << "the one that failed is recorded too";
  EXPECT_EQ(run.recorder.agreements.back().verdict, "differs");
  EXPECT_EQ(run.recorder.agreements.back().worst, "2.weight");
}

TEST_F(TrainerTest, ComparingDoesNotChangeTheTraining) {
  MlpSpec network{.inputs = 784, .hidden = {32}, .dropout = 0.2};
  network.normalization = Normalization::batch;
  Training alone(dataset, network, {}, {.epochs = 2, .batch_size = 32});
  alone.go({&alone.manual});
  Training every_step(dataset, network, {}, {.epochs = 2, .batch_size = 32, .compare_every = 1});
  every_step.go();
  EXPECT_EQ(every_step.recorder.between_reports.size(), 20 - 3) << "the reports are events of their own";
  EXPECT_EQ(every_step.recorder.between_reports[0].step, 1);
  EXPECT_TRUE(flat_parameters(every_step.manual).equal(flat_parameters(alone.manual)));
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(every_step.manual.buffers()[i].tensor.equal(alone.manual.buffers()[i].tensor)) << i;
  }
}

TEST_F(TrainerTest, ComparesAtTheIntervalOfUpdates) {
  Training run(dataset, spec, {}, {.epochs = 1, .batch_size = 32, .compare_every = 4});
  run.go();
  std::vector<std::int64_t> steps;
  for (const Agreement& agreement : run.recorder.between_reports) {
    steps.push_back(agreement.step);
  }
  EXPECT_EQ(steps, (std::vector<std::int64_t>{4, 8}));
}

TEST_F(TrainerTest, MeasuresTheDistanceOfTheTrainingsAtEachComparison) {
  Training run(dataset, spec, {}, {.epochs = 1, .batch_size = 32, .compare_every = 4});
  ManualTwin faster(spec, {.lr = 0.01}, run.initial, torch::kFloat);  // ten times the rate of the other
  run.go({&run.autograd, &faster});
  ASSERT_EQ(run.recorder.between_reports.size(), 2);
  double last = 0;
  for (const Agreement& agreement : run.recorder.between_reports) {
    EXPECT_GT(agreement.max_abs_weight_difference, std::max(last, 1e-3));
    last = agreement.max_abs_weight_difference;
  }
}

// ---- Schedules and regularization -------------------------------------------------------------------------

TEST_F(TrainerTest, SchedulesChangeTheRateOfBothTwins) {
  using Kind = ScheduleOptions::Kind;
  for (const ScheduleOptions& schedule :
       {ScheduleOptions{.kind = Kind::step, .step_epochs = 1, .gamma = 0.5},
        ScheduleOptions{.kind = Kind::cosine}, ScheduleOptions{.kind = Kind::one_cycle},
        ScheduleOptions{.warm_up = 15}}) {
    Training run(dataset, spec, {},
                 {.epochs = 3, .batch_size = 32, .schedule = schedule, .dtype = torch::kDouble});
    const TrainingResult result = run.go();
    Training constant(dataset, spec, {}, {.epochs = 3, .batch_size = 32, .dtype = torch::kDouble});
    constant.go();
    EXPECT_LE(result.agreements.back().max_abs_weight_difference, 1e-12);
    EXPECT_FALSE(flat_parameters(run.manual).equal(flat_parameters(constant.manual)))
        << "the schedule has an effect";
  }
}

/// A manual twin that records its learning rates.
class RateRecorder final : public ManualTwin {
 public:
  using ManualTwin::ManualTwin;
  void set_lr(double lr) override {
    rates.push_back(lr);
    ManualTwin::set_lr(lr);
  }
  std::vector<double> rates;
};

TEST_F(TrainerTest, ASchedulePassesOverAllUpdatesOfTheRun) {
  // 300 images: 10 batches of 30; 10 of 31, the last smaller; 11 of 29; 1 of 300.
  for (const std::int64_t batch_size : {30, 31, 29, 300}) {
    const std::int64_t updates = 2 * ((300 + batch_size - 1) / batch_size);
    Training run(dataset, spec, {},
                 {.epochs = 2,
                  .batch_size = batch_size,
                  .lr = 0.01,
                  .schedule = {.kind = ScheduleOptions::Kind::cosine}});
    RateRecorder recorder(spec, {}, run.initial, torch::kFloat);
    EXPECT_EQ(run.go({&recorder}).steps, updates);
    ASSERT_EQ(recorder.rates.size(), updates);
    for (std::int64_t t = 0; t < updates; ++t) {
      const double phase = static_cast<double>(t) / static_cast<double>(updates);
      EXPECT_NEAR(recorder.rates[t], 0.01 * (1 + std::cos(M_PI * phase)) / 2, 1e-15)
          << batch_size << ", " << t;
    }
  }
}

TEST_F(TrainerTest, NormalizationAndDropoutTrainInLockstep) {
  for (const Normalization normalization : {Normalization::batch, Normalization::layer, Normalization::rms}) {
    const MlpSpec regularized{.inputs = 784,
                              .hidden = {32},
                              .normalization = normalization,
                              .dropout = 0.2,
                              .label_smoothing = 0.05};
    Training run(dataset, regularized, {}, {.epochs = 10, .batch_size = 32, .dtype = torch::kDouble});
    const TrainingResult result = run.go();
    EXPECT_LE(result.agreements.back().max_abs_weight_difference, 1e-11);
    EXPECT_GT(result.last[1].test_accuracy, 0.8);
    EXPECT_EQ(result.last[0].test_accuracy, result.last[1].test_accuracy);
  }
}

// ---- An epoch of real data ----------------------------------------------------------------------------

TEST(Agreement, HoldsForOneEpochOfTheDefaultNetwork) {
  // Fashion-MNIST if it is installed, otherwise the same number of synthetic images, with the same bound.
  use_threads({.aten = 1, .blas = 1});
  data::Dataset dataset;
  try {
    dataset = data::load("fashion-mnist", 10);
  } catch (const UserError&) {
    dataset = data::synthetic(1, 60000, 1000);
  }
  Training run(dataset, {}, {}, {.epochs = 1, .batch_size = 128, .dtype = torch::kDouble});
  const TrainingResult result = run.go();
  EXPECT_EQ(result.steps, (dataset.train.count + 127) / 128);
  EXPECT_LE(result.agreements.front().max_rel_gradient_difference, 1e-13);
  EXPECT_LE(result.agreements.back().max_abs_weight_difference, 1e-12);
  EXPECT_GT(result.last[1].test_accuracy, 0.8);
}

TEST(Benchmark, RatioIsTheMedianOfTheRatiosPerTurn) {
  // The ratios are 2, 3 and 1; the ratio of the medians would be 4/3.
  EXPECT_EQ(median_ratio({"one", {2, 9, 4}}, {"other", {1, 3, 4}}), 2);
}

}  // namespace
}  // namespace twingrad
