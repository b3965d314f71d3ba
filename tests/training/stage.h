#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <vector>

#include "../compare/puppet_twin.h"
#include "twingrad/data/dataset.h"
#include "twingrad/runtime/error.h"
#include "twingrad/training/trainer.h"

namespace twingrad::trainer_test {

using at::Tensor;
using testing::PuppetTwin;

constexpr std::int64_t kImages = 5, kTestImages = 3, kClasses = 3;

/// All events of a run, in order.
class Events final : public TrainingObserver {
 public:
  void on_progress(const Progress& event) override {
    progress.push_back(event);
    if (progress.size() == stops_at_progress) {
      *stop = true;
    }
  }
  void on_epoch(const EpochMetrics& metrics) override {
    log.push_back("epoch " + metrics.twin);
    epochs.push_back(metrics);
    if (metrics.epoch == stops_at_epoch) {
      *stop = true;
    }
  }
  void on_agreement(const Agreement& agreement, bool is_report) override {
    log.push_back(is_report ? "agreement" : "comparison");
    (is_report ? reports : comparisons).push_back(agreement);
  }
  void on_test_results(const TestResults& of_test, const TrainingResult& result) override {
    log.emplace_back("test results");
    tests.push_back(of_test);
    EXPECT_EQ(result.last.size(), of_test.twins.size());
  }
  void on_checkpoint(const TrainingProgress& of_run) override {
    log.emplace_back("checkpoint");
    checkpoints.push_back(of_run);
  }

  std::vector<std::string> log;
  std::vector<Progress> progress;
  std::vector<EpochMetrics> epochs;
  std::vector<Agreement> reports, comparisons;
  std::vector<TestResults> tests;
  std::vector<TrainingProgress> checkpoints;
  std::atomic<bool>* stop = nullptr;
  std::size_t stops_at_progress = 0;
  std::int64_t stops_at_epoch = 0;
};

/// The mean of the labels: known for each batch.
inline double mean_label(const Tensor& /*images*/, const Tensor& labels) {
  return labels.to(at::kDouble).mean().item<double>();
}

/// Logits that are right but for label 1, which they call 2. Not contiguous.
inline Tensor mostly_right(const Tensor& labels) {
  return at::one_hot(at::where(labels == 1, 2, labels), kClasses).to(at::kDouble).t().contiguous().t();
}

/// One or two scripted twins, a few images and the events of their training.
struct Stage {
  explicit Stage(const TrainingOptions& training_options, std::int64_t test_images = kTestImages)
      : dataset(data::synthetic(1, kImages, test_images, kClasses)),
        train(dataset.train, at::kCPU),
        test(dataset.test, at::kCPU),
        options(training_options) {
    options.dtype = at::kDouble;
    for (PuppetTwin* twin : {&autograd, &manual}) {
      twin->weights = {{"0.weight", at::ones({2}, at::kDouble)}};
      twin->loss_of = mean_label;
      twin->logits_of = mostly_right;
    }
  }
  TrainingResult go(const std::vector<Twin*>& twins, const TrainingProgress& from = {}) {
    events.stop = &stop;
    Trainer trainer(spec, twins, train, test, options, {&events});
    return trainer.run(stop, from);
  }
  TrainingResult go_alone(const TrainingProgress& from = {}) { return go({&manual}, from); }
  std::string failure(const std::vector<Twin*>& twins) {
    try {
      go(twins);
    } catch (const CheckFailed& error) {
      return error.what();
    }
    return "nothing was thrown";
  }
  Tensor train_labels() const {
    Tensor labels = at::empty({kImages}, at::kLong);
    for (std::int64_t i = 0; i < kImages; ++i) {
      labels[i] = static_cast<std::int64_t>(dataset.train.labels[static_cast<std::size_t>(i)]);
    }
    return labels;
  }

  MlpSpec spec{.inputs = 784, .hidden = {4}, .classes = kClasses, .dropout = 0.5};
  data::Dataset dataset;
  data::ImageTensors train, test;
  TrainingOptions options;
  PuppetTwin autograd{"autograd"}, manual{"manual"};
  Events events;
  std::atomic<bool> stop = false;
};

}  // namespace twingrad::trainer_test
