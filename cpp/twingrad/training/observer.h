#pragma once

#include <cstdint>

#include "twingrad/training/progress.h"
#include "twingrad/training/test_results.h"

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

/// Receives the events of a run. The functions do nothing by default.
class TrainingObserver {
 public:
  TrainingObserver() = default;
  TrainingObserver(const TrainingObserver&) = delete;
  TrainingObserver& operator=(const TrainingObserver&) = delete;
  virtual ~TrainingObserver() = default;

  virtual void on_progress(const Progress& /*progress*/) {}
  virtual void on_epoch(const EpochMetrics& /*metrics*/) {}
  /// is_report: at the start and at the end of an epoch; false for the comparisons of compare_every.
  virtual void on_agreement(const Agreement& /*agreement*/, bool /*is_report*/) {}

  /// The last event of an epoch that is reported.
  virtual void on_test_results(const TestResults& /*results*/, const TrainingResult& /*result*/) {}

  /// Called when a checkpoint is due: before the first step, at the interval
  /// TrainingOptions::checkpoint_every, at the end, and when the run is interrupted.
  virtual void on_checkpoint(const TrainingProgress& /*progress*/) {}
};

}  // namespace twingrad
