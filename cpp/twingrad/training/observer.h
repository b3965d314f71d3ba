#pragma once

#include <cstdint>

#include "twingrad/training/progress.h"

namespace twingrad {

/// The position of a run, for a progress line.
struct Progress {
  std::int64_t epoch = 0;
  std::int64_t epochs = 0;
  double fraction_of_epoch = 0;
  double loss = 0;                ///< mean of the epoch so far
  double samples_per_second = 0;  ///< of wall time, including evaluation and output
  double seconds_left = 0;
};

/// Observes a run, to print or to store it.
class TrainingObserver {
 public:
  TrainingObserver() = default;
  TrainingObserver(const TrainingObserver&) = delete;
  TrainingObserver& operator=(const TrainingObserver&) = delete;
  virtual ~TrainingObserver() = default;

  virtual void on_progress(const Progress& /*progress*/) {}
  virtual void on_epoch(const EpochMetrics& metrics) = 0;
  /// bound: the largest difference of the gradients allowed before the first update; 0 in later epochs, which
  /// are only reported.
  virtual void on_agreement(const Agreement& agreement, double bound) = 0;

  /// Called when a checkpoint is due: before the first step, as often as TrainingOptions::checkpoint_every
  /// says, at the end and when the run is interrupted.
  virtual void on_checkpoint(const TrainingProgress& /*progress*/) {}
};

}  // namespace twingrad
