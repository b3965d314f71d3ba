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
  MlpSpec network;  ///< inputs and classes follow from the data
  std::int64_t classes = 10;
  std::int64_t hold_out = 0;  ///< training images to evaluate on in place of the test images
  OptimizerOptions optimizer;
  TrainingOptions training;
  int threads = 0;
  std::string out;
  bool quiet = false;
  bool json = false;
};

/// Parses the arguments of `twingrad train`, those of a recipe first. Returns nothing after --help. Throws
/// UserError.
std::optional<TrainCommandOptions> parse_train_options(const std::vector<std::string>& arguments);

}  // namespace twingrad::app
