#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "twingrad/compare/agreement.h"

namespace twingrad {

/// The results of one twin in one epoch.
struct EpochMetrics {
  std::int64_t epoch = 0;  ///< from 1
  std::string twin;        ///< "autograd" or "manual"
  double train_loss = 0;   ///< mean over the epoch's images, each before the update of its batch
  double train_accuracy = 0;
  double test_loss = 0;
  double test_accuracy = 0;
  /// Wall time of the training steps: shuffling, gathering, forward, backward, optimizer. Evaluation,
  /// comparison and output are excluded.
  double seconds = 0;
  double samples_per_second = 0;
};

/// Wall time of training steps by part, in seconds.
struct StepSeconds {
  double gather = 0;  ///< shuffling the images and gathering batches; done once for two twins
  double forward = 0;
  double backward = 0;
  double optimizer = 0;
};

/// The sums of one twin over the current epoch.
struct Tally {
  double loss_sum = 0;
  std::int64_t correct = 0;
  std::int64_t samples = 0;
  double seconds = 0;
};

/// The results of a run so far.
struct TrainingResult {
  std::vector<EpochMetrics> last;                           ///< one per twin
  std::map<std::string, double> seconds;                    ///< of all training steps, by twin
  std::map<std::string, StepSeconds> seconds_by_part = {};  ///< the same by part
  std::vector<Agreement> agreements;  ///< with two twins; the first is before the first update
  std::int64_t steps = 0;
  double exchange_seconds = 0;  ///< for summing the gradients of several processes, since this one started
  bool interrupted = false;
};

/// The position of a run. With the parameters, buffers and optimizer state of the twins it is enough to
/// resume the run: the order of the images and the dropout masks follow from seed, epoch and step.
struct TrainingProgress {
  std::int64_t epoch = 1;         ///< the current one, or the next
  std::int64_t samples_done = 0;  ///< of that epoch
  std::vector<Tally> tallies;     ///< of that epoch, one per twin
  TrainingResult result;
};

}  // namespace twingrad
