#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "twingrad/mlp/spec.h"
#include "twingrad/optim/options.h"
#include "twingrad/training/trainer.h"

namespace twingrad::app {

/// Everything that `twingrad train` can be told.
struct TrainCommandOptions {
  std::string recipe;  ///< as given; empty: none
  std::string dataset = "fashion-mnist";
  bool autograd = true;
  bool manual = true;
  MlpSpec network;              ///< inputs and classes follow from the data
  std::string initial_weights;  ///< the file to begin with; empty: they are drawn
  std::int64_t classes = 10;
  std::int64_t hold_out = 0;  ///< training images to evaluate on in place of the test images
  OptimizerOptions optimizer;
  TrainingOptions training;
  int threads = 0;
  std::string out;
  std::string resume;  ///< the folder of a run to continue; empty: begin one
  /// The options of this run for who continues it: those of the recipe in full, and those of the command line that count then.
  std::vector<std::string> lasting;
  bool quiet = false;
  bool json = false;
};

/// The value of an option among arguments that nobody has parsed yet, the last one if there are several; "" without.
std::string argument_of(const std::string& option, const std::vector<std::string>& arguments);

/// Parses the arguments of `twingrad train`, those of a recipe first. lasting: the options of a run that is continued, which
/// come before all others. Returns nothing after --help. Throws UserError.
std::optional<TrainCommandOptions> parse_train_options(const std::vector<std::string>& arguments,
                                                       const std::vector<std::string>& lasting = {});

}  // namespace twingrad::app
