// What the trainer tells its observers.
#include <algorithm>

#include "twingrad/compare/distance.h"
#include "twingrad/runtime/monotonic_clock.h"
#include "twingrad/training/gradient_exchange.h"
#include "twingrad/training/trainer.h"

namespace twingrad {
namespace {

constexpr double kSecondsBetweenProgress = 0.1;

}  // namespace

void Trainer::report_comparison(bool is_reported) {
  if (agreement_.step == 0) {
    Agreement first = agreement_;
    first.epoch = 0;
    report(std::move(first));
  } else if (!is_reported) {
    for (TrainingObserver* observer : observers_) {
      observer->on_agreement(agreement_, /*is_report=*/false);
    }
  }
}

void Trainer::report(Agreement agreement) {
  progress_.result.agreements.push_back(std::move(agreement));
  for (TrainingObserver* observer : observers_) {
    observer->on_agreement(progress_.result.agreements.back(), /*is_report=*/true);
  }
}

void Trainer::report_epoch() {
  if (twins_.size() == 2) {
    agreement_.step = progress_.result.steps;
    agreement_.max_abs_weight_difference = compare_weights(*twins_[0], *twins_[1]).absolute;
    agreement_.max_abs_optimizer_state_difference = compare_optimizer_state(*twins_[0], *twins_[1]).absolute;
  }
  const std::vector<Evaluation> test = evaluate();
  progress_.result.last.clear();
  for (std::size_t i = 0; i < twins_.size(); ++i) {
    const auto mean = [](double sum, std::int64_t samples) { return sum / static_cast<double>(samples); };
    const Tally& train = progress_.tallies[i];
    const EpochMetrics metrics{.epoch = progress_.epoch,
                               .twin = twins_[i]->name(),
                               .train_loss = mean(train.loss_sum, train.samples),
                               .train_accuracy = mean(static_cast<double>(train.correct), train.samples),
                               .test_loss = test[i].loss,
                               .test_accuracy = test[i].accuracy,
                               .seconds = train.seconds,
                               .samples_per_second = static_cast<double>(train.samples) / train.seconds};
    progress_.result.last.push_back(metrics);
    for (TrainingObserver* observer : observers_) {
      observer->on_epoch(metrics);
    }
  }
  if (twins_.size() == 2) {
    report(agreement_);
  }
  for (TrainingObserver* observer : observers_) {
    observer->on_test_results(test_results_, progress_.result);
  }
}

void Trainer::report_progress() {
  const double elapsed = monotonic_seconds() - run_start_;
  if (elapsed < next_progress_) {
    return;
  }
  read_gpu();
  next_progress_ = elapsed + kSecondsBetweenProgress;
  const auto count = static_cast<double>(train_.count());
  const double done = samples_done();
  const double all = static_cast<double>(options_.epochs) * count;
  const Tally& tally = progress_.tallies.back();
  const double samples_per_second = (done - samples_at_start_) / elapsed;
  const Progress progress{.epoch = progress_.epoch,
                          .epochs = options_.epochs,
                          .fraction_of_epoch = static_cast<double>(progress_.samples_done) / count,
                          .loss = tally.loss_sum / static_cast<double>(tally.samples),
                          .samples_per_second = samples_per_second,
                          .seconds_left = (all - done) / samples_per_second};
  for (TrainingObserver* observer : observers_) {
    observer->on_progress(progress);
  }
}

}  // namespace twingrad
