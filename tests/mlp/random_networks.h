#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "../optim/every_combination.h"
#include "../support/random_cases.h"
#include "twingrad/layers/activations.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/mlp/training_loss.h"
#include "twingrad/runtime/fields.h"

namespace twingrad::testing {

/// Sets the options that belong to the network's loss, each with a probability of 1/2.
inline void set_loss_options(MlpSpec& spec, RandomCase& random) {
  const auto chosen = [&](const char* option) {
    return loss_fields().at(option).belongs_to(entry_of(spec.loss).name) && random.chance();
  };
  const auto weights = [&] {
    std::vector<double> drawn;
    for (std::int64_t i = 0; i < spec.classes; ++i) {
      drawn.push_back(random.real(0.5, 3));
    }
    return drawn;
  };
  if (chosen("--label-smoothing")) {
    spec.label_smoothing = 0.1;
    spec.log_target = chosen("--log-target");
  }
  if (chosen("--class-weights")) {
    spec.class_weights = weights();
  }
  if (chosen("--ignore-index")) {
    spec.ignore_index = random.integer(0, spec.classes - 1);
  }
  if (chosen("--positive-weights")) {
    spec.positive_weights = weights();
  }
  spec.smooth_l1_beta = chosen("--smooth-l1-beta") ? 0.3 : 1;
  spec.huber_delta = chosen("--huber-delta") ? 0.3 : 1;
  spec.batch_mean = chosen("--batch-mean");
}

/// A network of these widths with random options. The hidden layers should have at least four units: with
/// two, a normalization leaves little but rounding.
inline MlpSpec random_network(RandomCase& random, std::int64_t inputs,
                              const std::vector<std::int64_t>& hidden, std::int64_t classes) {
  MlpSpec spec = {.inputs = inputs, .hidden = hidden, .classes = classes};
  spec.activation = random.one_of(nn::activations()).name;
  spec.bias = random.one_of({Bias::every_layer, Bias::column_of_ones, Bias::separate_layer});
  spec.normalization = random.one_of({Normalization::none, Normalization::none, Normalization::batch,
                                      Normalization::layer, Normalization::rms});
  spec.normalization_affine = random.chance();
  spec.normalization_statistics = random.chance();
  spec.input_dropout = random.chance(0.3) ? 0.2 : 0;
  spec.dropout = random.chance(0.3) ? 0.4 : 0;
  spec.residual = random.chance();
  spec.loss = random.one_of(losses()).kind;
  spec.reduction = random.one_of({nn::Reduction::mean, nn::Reduction::sum});
  set_loss_options(spec, random);
  return spec;
}

inline MlpSpec random_network(RandomCase& random) {
  std::vector<std::int64_t> hidden;
  for (std::int64_t layers = random.integer(0, 3); layers > 0; --layers) {
    hidden.push_back(random.one_of<std::int64_t>({4, 6, 6, 9}));
  }
  return random_network(random, random.integer(5, 9), hidden, random.integer(2, 5));
}

/// An optimizer with a random subset of its options, and clipping. ε is large enough that a gradient that is
/// zero up to rounding does not move a parameter.
inline OptimizerOptions random_optimizer(RandomCase& random) {
  static const std::vector<OptimizerOptions> all = every_combination();
  OptimizerOptions options = random.one_of(all);
  options.eps = std::max(options.eps, 1e-4);
  if (random.chance(0.3)) {
    options.clip_norm = random.one_of({1e-3, 0.1, 10.0});
    options.clip_norm_type = random.one_of({1.0, 2.0, 3.5, std::numeric_limits<double>::infinity()});
  }
  return options;
}

}  // namespace twingrad::testing
