#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <string>
#include <vector>

#include "../mlp/random_networks.h"
#include "twingrad/compare/twin_comparer.h"
#include "twingrad/mlp/autograd_twin.h"
#include "twingrad/mlp/dropout_masks.h"
#include "twingrad/mlp/manual_twin.h"

namespace twingrad::testing {

/// A number from 1 to `last`, with a uniform logarithm.
inline std::int64_t width(RandomCase& random, std::int64_t last) {
  return std::llround(std::exp(random.real(0, std::log(static_cast<double>(last)))));
}

/// A network of 0 to 4 hidden layers, with any activation, normalization, loss and options.
inline MlpSpec random_wide_network(RandomCase& random, std::int64_t largest_width) {
  std::vector<std::int64_t> hidden;
  for (std::int64_t depth = random.integer(0, 4); depth > 0; --depth) {
    const bool repeats = !hidden.empty() && random.chance(0.3);
    hidden.push_back(repeats ? hidden.back() : width(random, largest_width));
  }
  MlpSpec spec = random_network(random, width(random, largest_width), hidden, width(random, 20) + 1);
  spec.initialization = random.chance(0.8) ? Initialization::uniform : Initialization::normal;
  spec.label_smoothing *= random.one_of({1., 5., 9.});
  spec.smooth_l1_beta *= random.one_of({0., 1.});
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
