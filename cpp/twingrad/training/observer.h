#pragma once

#include <cstdint>

#include "twingrad/training/progress.h"

namespace twingrad {

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

  /// Before the first step, whenever TrainingOptions::checkpoint_every says so, at the end and before a run that is interrupted
  /// stops: the moment to save it.
  virtual void on_checkpoint(const TrainingProgress& /*progress*/) {}
};

}  // namespace twingrad
