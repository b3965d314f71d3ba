#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

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

/// What one twin gathered in the epoch in hand.
struct Tally {
  double loss_sum = 0;
  std::int64_t correct = 0;
  std::int64_t samples = 0;
  double seconds = 0;
};

/// How a run ended, or what has become of it so far.
struct TrainingResult {
  std::vector<EpochMetrics> last;         ///< one a twin
  std::map<std::string, double> seconds;  ///< of all training steps, by twin
  std::vector<Agreement> agreements;      ///< of two twins: the first is that before the first update
  std::int64_t steps = 0;
  bool interrupted = false;
};

/// Where a run stands: with the twins' parameters, buffers and optimizers all that continuing it takes. The order of the images
/// and the masks of dropout follow from seed, epoch and step.
struct TrainingProgress {
  std::int64_t epoch = 1;         ///< in hand, or to be begun
  std::int64_t samples_done = 0;  ///< of that epoch
  std::vector<Tally> tallies;     ///< of that epoch, one a twin
  Agreement agreement;            ///< of that epoch
  TrainingResult result;
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
