#pragma once

#include "twingrad/data/dataset.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/optim/options.h"
#include "twingrad/training/options.h"

namespace twingrad {

/// A run, as far as require_possible needs to know it.
struct RequestedRun {
  const MlpSpec& network;
  const OptimizerOptions& optimizer;
  const TrainingOptions& training;
  int twins = 2;
  const data::LabelledImages& images;  ///< to train on
};

/// Throws UserError, naming the option, for a run whose options are valid each by itself but not together
/// with the data: a network that does not fit into memory, a batch of one row with batch normalization,
/// residual blocks without a layer as wide as its input, a loss that ignores all images, a phase of the
/// schedule without updates.
void require_possible(const RequestedRun& run);

}  // namespace twingrad
