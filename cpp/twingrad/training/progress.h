#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

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

/// How far the twins lie apart at one moment. Gradients are those of every parameter and every intermediate
/// result.
struct Agreement {
  std::int64_t epoch = 0;  ///< 0: before the first update
  std::int64_t step = 0;   ///< updates made so far
  double max_abs_gradient_difference = 0;
  double max_rel_gradient_difference = 0;
  double max_abs_weight_difference = 0;
  std::string worst;         ///< the gradient of the largest relative difference
  double autograd_loss = 0;  ///< of the batch whose gradients these are
  double manual_loss = 0;
  double loss_difference = 0;  ///< |a − m| / |a|
  /// Since the last report: by activation, how often its input lay on different sides of a kink in the two
  /// twins. Rounding does that, and then the gradients part honestly.
  std::map<std::string, std::int64_t> flips;
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

}  // namespace twingrad
