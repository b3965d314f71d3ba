// What the trainer asks of twins and tells observers, with twins whose results are scripted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "stage.h"
#include "twingrad/mlp/dropout_masks.h"
#include "twingrad/optim/options.h"

namespace twingrad::trainer_test {

// ---- Order ------------------------------------------------------------------------------------------------

TEST(TrainerCalls, AreThoseOfStepsAndEvaluations) {
  Stage stage({.epochs = 2, .batch_size = 2});
  stage.go_alone();
  const std::vector<std::string> epoch = {"masks", "compute 2", "update", "masks", "compute 2", "update",
                                          "masks", "compute 1", "update", "eval",  "forward 3", "train"};
  std::vector<std::string> both = epoch;
  both.insert(both.end(), epoch.begin(), epoch.end());
  EXPECT_EQ(stage.manual.calls, both);
  EXPECT_EQ(stage.events.log,
            (std::vector<std::string>{"checkpoint", "epoch manual", "test results", "checkpoint",
                                      "epoch manual", "test results", "checkpoint"}));
  EXPECT_EQ(stage.events.tests[1].epoch, 2);
}

TEST(TrainerCalls, GiveEveryBatchOnce) {
  for (const std::int64_t batch_size : {0, 1, 2, 5, 9}) {
    Stage stage({.epochs = 2, .batch_size = batch_size, .seed = 3});
    stage.go_alone();
    for (std::int64_t epoch = 1; epoch <= 2; ++epoch) {
      const std::int64_t steps = batch_size == 0 ? 1 : (kImages + batch_size - 1) / batch_size;
      const auto begin = (epoch - 1) * (steps + 1);  // an evaluation follows the steps of an epoch
      const auto seen = [&](const std::vector<Tensor>& all) {
        return at::cat(std::vector<Tensor>(all.begin() + begin, all.begin() + begin + steps));
      };
      const Tensor order = batch_size == 0 ? at::arange(kImages) : data::shuffled_indices(kImages, 3, epoch);
      EXPECT_TRUE(seen(stage.manual.labels_seen).equal(stage.train_labels().index_select(0, order)));
      Tensor images = at::empty({0}, at::kDouble), labels = at::empty({0}, at::kLong);
      stage.train.gather(order, images, labels);
      EXPECT_TRUE(seen(stage.manual.images_seen).equal(images)) << batch_size;
    }
  }
}

TEST(TrainerCalls, GiveTheMasksOfTheStep) {
  Stage stage({.epochs = 2, .batch_size = 2, .seed = 3});
  stage.go_alone();
  ASSERT_EQ(stage.manual.masks_seen.size(), 6U);
  for (std::size_t step = 0; step < 6; ++step) {
    const std::int64_t rows = step % 3 == 2 ? 1 : 2;
    const std::vector<Tensor> masks =
        draw_dropout_masks(stage.spec, rows, 3, static_cast<std::int64_t>(step));
    ASSERT_EQ(stage.manual.masks_seen[step].size(), masks.size());
    EXPECT_TRUE(stage.manual.masks_seen[step][0].equal(masks[0])) << step;
  }
}

TEST(TrainerCalls, SetTheRateOfASchedule) {
  using Kind = ScheduleOptions::Kind;
  for (const ScheduleOptions& schedule : {ScheduleOptions{.kind = Kind::cosine},
                                          ScheduleOptions{.warm_up = 1}, ScheduleOptions{.warm_up = 4}}) {
    Stage stage({.epochs = 2, .batch_size = 2, .lr = 0.5, .schedule = schedule});
    stage.go_alone();
    std::vector<double> rates;
    for (std::int64_t step = 0; step < 6; ++step) {
      rates.push_back(learning_rate_at(schedule, 0.5, step, 3, 6));
    }
    EXPECT_EQ(stage.manual.rates, rates);
  }
  Stage constant({.epochs = 2, .batch_size = 2});
  constant.go_alone();
  EXPECT_TRUE(constant.manual.rates.empty()) << "the rate of the optimizer stays";
}

TEST(TrainerCalls, WriteACheckpointWhenItIsDue) {
  const auto steps_of = [](const Stage& stage) {
    std::vector<std::int64_t> steps;
    for (const TrainingProgress& checkpoint : stage.events.checkpoints) {
      steps.push_back(checkpoint.result.steps);
    }
    return steps;
  };
  const std::vector<std::pair<std::int64_t, std::vector<std::int64_t>>> due = {
      {0, {0, 3, 6, 9}},
      {1, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
      {2, {0, 2, 4, 6, 8, 9}},
      {3, {0, 3, 6, 9}},
      {4, {0, 4, 8, 9}},
      {6, {0, 6, 9}},
      {20, {0, 9}}};
  for (const auto& [every, steps] : due) {
    Stage stage({.epochs = 3, .batch_size = 2, .checkpoint_every = every});
    EXPECT_FALSE(stage.go_alone().interrupted);
    EXPECT_EQ(steps_of(stage), steps) << every;
    EXPECT_EQ(stage.events.checkpoints.back().epoch, 4) << "all three are done";
    EXPECT_EQ(stage.events.checkpoints.back().samples_done, 0);
  }
  Stage stopped({.epochs = 3, .batch_size = 2, .checkpoint_every = 20});
  stopped.events.stops_at_progress = 1;
  EXPECT_TRUE(stopped.go_alone().interrupted);
  EXPECT_EQ(steps_of(stopped), (std::vector<std::int64_t>{0, 1}));
  EXPECT_TRUE(stopped.events.checkpoints.back().result.interrupted);
  EXPECT_EQ(stopped.events.checkpoints.back().samples_done, 2);
  EXPECT_TRUE(stopped.events.epochs.empty());
  Stage rest({.epochs = 3, .batch_size = 2});
  const TrainingResult result = rest.go_alone(stopped.events.checkpoints.back());
  EXPECT_EQ(result.steps, 9) << "a run that was interrupted goes on";
  EXPECT_FALSE(result.interrupted);
  Stage between({.epochs = 3, .batch_size = 2, .checkpoint_every = 20});
  between.events.stops_at_epoch = 2;
  EXPECT_TRUE(between.go_alone().interrupted);
  EXPECT_EQ(steps_of(between), (std::vector<std::int64_t>{0, 6}));
  EXPECT_TRUE(between.events.checkpoints.back().result.interrupted);
  EXPECT_EQ(between.events.checkpoints.back().epoch, 3);
}

TEST(TrainerCalls, GoOnFromACheckpoint) {
  Stage whole({.epochs = 3, .batch_size = 2, .checkpoint_every = 1});
  whole.go_alone();
  for (const TrainingProgress& from : whole.events.checkpoints) {
    Stage rest({.epochs = 3, .batch_size = 2, .checkpoint_every = 1});
    const TrainingResult result = rest.go_alone(from);
    EXPECT_EQ(result.steps, 9);
    EXPECT_EQ(rest.events.checkpoints.size(), 9 - from.result.steps + (from.result.steps == 0 ? 1 : 0));
    EXPECT_EQ(result.last.size(), 1U);
    EXPECT_EQ(result.last[0].train_loss, whole.events.epochs[2].train_loss) << from.result.steps;
  }
}

// ---- Numbers ----------------------------------------------------------------------------------------------

TEST(TrainerNumbers, AreMeansOverTheImages) {
  Stage stage({.epochs = 2, .batch_size = 2});
  const TrainingResult result = stage.go_alone();
  const Tensor labels = stage.train_labels();
  ASSERT_EQ(stage.events.epochs.size(), 2U);
  for (const EpochMetrics& epoch : stage.events.epochs) {
    EXPECT_NEAR(epoch.train_loss, mean_label({}, labels), 1e-15);
    EXPECT_NEAR(epoch.train_accuracy, (labels != 1).to(at::kDouble).mean().item<double>(), 1e-15);
  }
  ASSERT_EQ(result.last.size(), 1U) << "only the last epoch";
  EXPECT_EQ(result.last[0].epoch, 2);
  EXPECT_EQ(result.last[0].twin, "manual");
}

TEST(TrainerNumbers, CountTheFirstOfEqualLogits) {
  Stage stage({.epochs = 1, .batch_size = 2});
  stage.manual.logits_of = [](const Tensor& labels) {
    return at::zeros({labels.size(0), kClasses}, at::kDouble);  // each is the largest: class 0
  };
  stage.go_alone();
  const double zeros = (stage.train_labels() == 0).to(at::kDouble).mean().item<double>();
  EXPECT_NEAR(stage.events.epochs[0].train_accuracy, zeros, 1e-15);
}

TEST(TrainerNumbers, OfAnEvaluationCoverAllTestImages) {
  Stage stage({.epochs = 1, .batch_size = 2}, 2345);
  stage.manual.logits_of = [&](const Tensor& labels) {
    const Tensor right = at::one_hot(labels, kClasses).to(at::kDouble);
    // The last image alone is wrong.
    return labels.size(0) == 345 ? at::cat({right.slice(0, 0, 344), right.slice(0, 344).roll(1, 1)}) : right;
  };
  stage.go_alone();
  ASSERT_EQ(stage.events.tests.size(), 1U);
  const TestResults& results = stage.events.tests[0];
  EXPECT_EQ(results.images, 2345);
  ASSERT_EQ(results.mistakes.size(), 1U);
  EXPECT_EQ(results.mistakes[0].image, 2344);
  EXPECT_NEAR(stage.events.epochs[0].test_accuracy, 2344. / 2345, 1e-15);
  double sum = 0;
  for (const std::uint8_t label : stage.dataset.test.labels) {
    sum += label;
  }
  EXPECT_NEAR(stage.events.epochs[0].test_loss, sum / 2345, 1e-12);
}

void sleep_milliseconds(int count) { std::this_thread::sleep_for(std::chrono::milliseconds(count)); }

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Times cannot be shorter than the sleep inside, nor longer than the whole.
TEST(TrainerNumbers, OfTimeCoverTheStepsOnly) {
  Stage stage({.epochs = 2, .batch_size = 2});
  stage.manual.of_forward = 0.25;
  stage.manual.on_compute = [] { sleep_milliseconds(4); };
  stage.manual.on_update = [] { sleep_milliseconds(2); };
  stage.manual.loss_of = [](const Tensor& images, const Tensor& labels) {
    sleep_milliseconds(images.size(0) == kTestImages ? 20 : 0);
    return mean_label(images, labels);
  };
  TrainingResult result;
  const double elapsed = seconds_of([&] { result = stage.go_alone(); });
  const StepSeconds& parts = result.seconds_by_part.at("manual");
  EXPECT_EQ(parts.forward, 6 * 0.25) << "as the twin says";
  EXPECT_GE(parts.backward + parts.forward, 6 * 0.004);
  EXPECT_GE(parts.optimizer, 6 * 0.002);
  EXPECT_GT(parts.gather, 0);
  const double all = result.seconds.at("manual");
  EXPECT_NEAR(all, parts.gather + parts.forward + parts.backward + parts.optimizer, 1e-9);
  EXPECT_LE(all, elapsed - 2 * 0.02) << "without the evaluations";
  double of_epochs = 0;
  for (const EpochMetrics& epoch : stage.events.epochs) {
    EXPECT_GE(epoch.seconds, 3 * 0.006);
    EXPECT_NEAR(epoch.samples_per_second * epoch.seconds, kImages, 1e-9);
    of_epochs += epoch.seconds;
  }
  EXPECT_NEAR(of_epochs, all, 1e-9);
}

TEST(TrainerNumbers, OfTheProgressAreThoseOfThisProcess) {
  Stage stage({.epochs = 4, .batch_size = 2});
  stage.manual.on_compute = [] { sleep_milliseconds(20); };
  TrainingProgress from;
  from.epoch = 3;
  from.samples_done = 2;
  from.tallies = {{.loss_sum = 6, .samples = 2}};
  from.result.steps = 7;
  const double elapsed = seconds_of([&] { stage.go_alone(from); });
  ASSERT_FALSE(stage.events.progress.empty());
  EXPECT_LE(static_cast<double>(stage.events.progress.size()), 1 + elapsed / 0.1) << "ten in a second";
  const Progress& first = stage.events.progress[0];
  EXPECT_EQ(first.epoch, 3);
  EXPECT_EQ(first.epochs, 4);
  EXPECT_EQ(first.fraction_of_epoch, 4. / 5);
  const double loss = mean_label({}, stage.manual.labels_seen[0]);
  EXPECT_NEAR(first.loss, (6 + 2 * loss) / 4, 1e-15);
  EXPECT_LE(first.samples_per_second, 2 / 0.02) << "two images in this process so far";
  EXPECT_GE(first.samples_per_second, 2 / elapsed);
  EXPECT_NEAR(first.seconds_left * first.samples_per_second, 4 * kImages - (2 * kImages + 4), 1e-9);
}

}  // namespace twingrad::trainer_test
