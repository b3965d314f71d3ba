#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "twingrad/data/dataset.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/optim/options.h"
#include "twingrad/runtime/threads.h"
#include "twingrad/training/options.h"
#include "twingrad/training/progress.h"

namespace twingrad {

/// Everything needed to repeat a run.
struct RunDescription {
  std::string recipe;  ///< as given; empty: none
  const data::Dataset& dataset;
  MlpSpec network;
  std::string initial_weights;  ///< the file of the initial weights; empty: they were drawn
  OptimizerOptions optimizer;
  TrainingOptions training;
  Twins twins = Twins::both;
  ThreadPlan threads;
  int requested_threads = 0;  ///< --threads; 0: all processors
};

/// "both", "autograd" and "manual".
const Names<Twins>& twin_choices();

/// The lines above the table of results: label and text.
std::vector<std::pair<std::string, std::string>> heading_of(const RunDescription& run);

/// The settings that must not change when a run is resumed: all but epochs and output.
nlohmann::ordered_json settings_of(const RunDescription& run);

/// All settings of the run, and the threads it uses.
nlohmann::ordered_json to_json(const RunDescription& run);

/// The content of summary.json: the description, and the results of each twin.
nlohmann::ordered_json summary_of(const RunDescription& run, const TrainingResult& result);

}  // namespace twingrad
