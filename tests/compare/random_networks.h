#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <string>
#include <vector>

#include "../support/random_cases.h"
#include "twingrad/compare/twin_comparer.h"
#include "twingrad/layers/activations.h"
#include "twingrad/mlp/autograd_twin.h"
#include "twingrad/mlp/dropout_masks.h"
#include "twingrad/mlp/manual_twin.h"
#include "twingrad/mlp/training_loss.h"

namespace twingrad::testing {

/// A number from 1 to `last`, with a uniform logarithm.
inline std::int64_t width(RandomCase& random, std::int64_t last) {
  return std::llround(std::exp(random.real(0, std::log(static_cast<double>(last)))));
}

inline void choose_loss(RandomCase& random, MlpSpec& spec) {
  const auto weights = [&] {
    std::vector<double> drawn;
    for (std::int64_t i = 0; i < spec.classes; ++i) {
      drawn.push_back(random.real(0.1, 3));
    }
    return drawn;
  };
  spec.loss = random.one_of(loss_kinds()).second;
  spec.reduction = random.one_of({nn::Reduction::mean, nn::Reduction::sum});
  const bool takes_classes = spec.loss == LossKind::cross_entropy || spec.loss == LossKind::nll;
  if (takes_classes && random.chance(0.3)) {
    spec.ignore_index = random.integer(0, spec.classes - 1);
  }
  if ((takes_classes || spec.loss == LossKind::class_probabilities ||
       spec.loss == LossKind::bce_with_logits) &&
      random.chance(0.3)) {
    spec.class_weights = weights();
  }
  if ((spec.loss == LossKind::cross_entropy || spec.loss == LossKind::class_probabilities ||
       spec.loss == LossKind::kl_divergence) &&
      random.chance(0.3)) {
    spec.label_smoothing = random.one_of({0.1, 0.5, 0.9});
  }
  if (spec.loss == LossKind::bce_with_logits && random.chance(0.3)) {
    spec.positive_weights = weights();
  }
  if (spec.loss == LossKind::kl_divergence) {
    spec.batch_mean = spec.reduction == nn::Reduction::mean && random.chance();
    spec.log_target = spec.label_smoothing > 0 && random.chance();
  }
  spec.smooth_l1_beta = random.one_of({0., 0.1, 1.});
  spec.huber_delta = random.one_of({0.1, 1.});
}

/// A network of 0 to 4 hidden layers, with any activation, normalization, loss and options.
inline MlpSpec random_network(RandomCase& random, std::int64_t largest_width) {
  MlpSpec spec;
  spec.inputs = width(random, largest_width);
  spec.classes = width(random, 20) + 1;
  spec.hidden.clear();
  for (std::int64_t depth = random.integer(0, 4); depth > 0; --depth) {
    const bool repeats = !spec.hidden.empty() && random.chance(0.3);
    spec.hidden.push_back(repeats ? spec.hidden.back() : width(random, largest_width));
  }
  spec.activation = random.one_of(nn::activations()).name;
  spec.bias = random.one_of(biases()).second;
  spec.normalization = random.chance() ? Normalization::none : random.one_of(normalizations()).second;
  spec.normalization_affine = random.chance(0.7);
  spec.normalization_statistics = random.chance(0.7);
  spec.input_dropout = random.chance(0.2) ? 0.2 : 0;
  spec.dropout = random.chance(0.2) ? 0.5 : 0;
  spec.residual = random.chance(0.3);
  spec.initialization = random.chance(0.8) ? Initialization::uniform : Initialization::normal;
  choose_loss(random, spec);
  return spec;
}

/// The parameters of a network: drawn, times a number from 1e-3 to 1e3; or all equal.
inline at::Tensor random_parameters(RandomCase& random, const MlpSpec& spec) {
  at::Tensor drawn = draw_initial_parameters(spec, random.seed());
  if (random.chance(0.1)) {
    return drawn.fill_(random.one_of({0., 0.01, 1.}));
  }
  return drawn.mul_(random.chance() ? 1 : std::pow(10., random.real(-3, 3)));
}

inline Batch random_batch(RandomCase& random, const MlpSpec& spec, std::int64_t most_rows,
                          at::ScalarType dtype) {
  const std::int64_t fewest = spec.normalization == Normalization::batch ? 2 : 1;
  const std::int64_t rows = std::max(fewest, width(random, most_rows));
  at::manual_seed(random.seed());
  at::Tensor images = at::rand({rows, spec.inputs}, dtype);
  const std::string kind =
      random.one_of<std::string>({"noise", "noise", "bytes", "sparse", "blank", "constant"});
  if (kind == "bytes") {
    images = (images * 255).floor() / 255;
  } else if (kind == "sparse") {
    images.mul_(images > 0.8);
  } else if (kind == "blank") {
    images.zero_();
  } else if (kind == "constant") {
    images.fill_(random.real(0, 1));
  }
  return {images, at::randint(0, spec.classes, {rows}, at::kLong),
          draw_dropout_masks(spec, rows, random.seed(), 1)};
}

}  // namespace twingrad::testing
