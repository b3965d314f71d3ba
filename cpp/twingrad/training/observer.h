#pragma once

#include <cstdint>
#include <string>

#include "twingrad/training/agreement.h"

namespace twingrad {

/// What one twin reached in one epoch.
struct EpochMetrics {
  std::int64_t epoch = 0;  ///< from 1
  std::string twin;        ///< "autograd" or "manual"
  double train_loss = 0;   ///< mean over the epoch's images, each before the update that it caused
  double train_accuracy = 0;
  double test_loss = 0;
  double test_accuracy = 0;
  /// Wall time of the training steps: shuffling, gathering, forward, backward, optimizer. Not: evaluation,
  /// comparison, output.
  double seconds = 0;
  double samples_per_second = 0;
};

/// Where a run is, for a progress line.
struct Progress {
  std::int64_t epoch = 0;
  std::int64_t epochs = 0;
  double fraction_of_epoch = 0;
  double loss = 0;                ///< mean of the epoch so far
  double samples_per_second = 0;  ///< wall time of the run, everything included
  double seconds_left = 0;
};

/// Watches a run: prints it, or writes it down.
class TrainingObserver {
 public:
  TrainingObserver() = default;
  TrainingObserver(const TrainingObserver&) = delete;
  TrainingObserver& operator=(const TrainingObserver&) = delete;
  virtual ~TrainingObserver() = default;

  virtual void on_progress(const Progress& /*progress*/) {}
  virtual void on_epoch(const EpochMetrics& metrics) = 0;
  /// bound: what the gradients must not exceed before the first update; 0 in later epochs, which are only
  /// reported.
  virtual void on_agreement(const Agreement& agreement, double bound) = 0;
};

}  // namespace twingrad
