#pragma once

#include "twingrad/data/dataset.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/optim/options.h"
#include "twingrad/training/options.h"

namespace twingrad {

/// The part of a run that require_possible checks.
struct RequestedRun {
  const MlpSpec& network;
  const OptimizerOptions& optimizer;
  const TrainingOptions& training;
  int twins = 2;
  const data::LabelledImages& images;  ///< to train on
  int ranks = 1;                       ///< processes that train together
};

/// Throws UserError, naming the option, if valid options do not work together or with the data: a network
/// that does not fit into memory, a batch of one row with batch normalization, residual blocks without a
/// layer as wide as its input, a loss that ignores all images, a phase of the schedule without updates;
/// in several processes, batch normalization or a GPU.
void require_possible(const RequestedRun& run);

}  // namespace twingrad
