#pragma once

#include "twingrad/data/dataset.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/optim/options.h"
#include "twingrad/training/trainer.h"

namespace twingrad {

/// What a run has to be told before it can be refused.
struct RequestedRun {
  const MlpSpec& network;
  const OptimizerOptions& optimizer;
  const TrainingOptions& training;
  int twins = 2;
  const data::LabelledImages& images;  ///< to train on
};

/// Throws UserError, naming the option, for a run whose options are fine one by one and yet cannot be: a network that does not
/// fit into memory, a batch of one row under batch normalization, residual blocks without a layer as wide as its input, no
/// image that counts, a phase of the schedule without length.
void require_possible(const RequestedRun& run);

}  // namespace twingrad
