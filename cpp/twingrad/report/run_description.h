#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "twingrad/data/dataset.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/optim/options.h"
#include "twingrad/runtime/threads.h"
#include "twingrad/training/trainer.h"

namespace twingrad {

/// All that a run depends on: enough to repeat it.
struct RunDescription {
  std::string recipe;
  const data::Dataset& dataset;
  MlpSpec network;
  std::string initial_weights;  ///< the file that they came from; empty: they were drawn
  OptimizerOptions optimizer;
  TrainingOptions training;
  bool autograd = true;  ///< whether that twin trains
  bool manual = true;
  ThreadPlan threads;
  int threads_asked_for = 0;  ///< --threads; 0: all processors
};

/// The lines above the table: label and text.
std::vector<std::pair<std::string, std::string>> heading_of(const RunDescription& run);

/// What two runs have to have in common for one to continue the other: all but epochs, threads and what is printed.
nlohmann::ordered_json settings_of(const RunDescription& run);

/// What goes into summary.json: the description, and what each twin reached.
nlohmann::ordered_json summary_of(const RunDescription& run, const TrainingResult& result);

}  // namespace twingrad
