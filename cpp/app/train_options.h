#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "twingrad/mlp/spec.h"
#include "twingrad/optim/options.h"
#include "twingrad/runtime/fields.h"
#include "twingrad/runtime/threads.h"
#include "twingrad/training/options.h"

namespace CLI {
class App;
}

namespace twingrad::app {

/// The options of `twingrad train`.
struct TrainCommandOptions {
  std::string recipe;  ///< as given; empty: none
  std::string dataset = "fashion-mnist";
  std::int64_t hold_out = 0;  ///< training images to evaluate on instead of the test images
  std::int64_t classes = 10;
  MlpSpec network;              ///< inputs and classes follow from the data
  std::string initial_weights;  ///< file of the initial weights; empty: they are drawn
  OptimizerOptions optimizer;
  TrainingOptions training;
  Twins twins = Twins::both;
  int threads = 0;  ///< 0: all processors
  std::string out;
  std::string resume;  ///< directory of a run to resume; empty: begin a new one
  bool quiet = false;
  bool json = false;
};

/// Adds all options to the command, except those with these names.
void add_train_options(CLI::App& command, const std::vector<std::string>& omitted = {});

/// The names of the options in the table with this title, such as "Learning rate schedule".
std::vector<std::string> options_of_table(const std::string& title);

/// Adds the options of the recipe, if one is given, and those that a run began with, if any. The command line
/// takes precedence over the recipe, and both over the run. run: where its options come from, for messages.
/// Throws UserError for options that do not exist.
GivenOptions with_recipe(GivenOptions given, const std::vector<std::string>& options_of_run = {},
                         const std::string& run = "");

/// Reads and validates options. Throws UserError.
TrainCommandOptions read_train_options(const GivenOptions& given);

/// The options to resume the run with, "--lr=0.1": those of the command line and the recipe, without the
/// options for output. Directories are absolute, because the run may be resumed from another directory.
std::vector<std::string> options_to_resume_with(const GivenOptions& given);

}  // namespace twingrad::app
