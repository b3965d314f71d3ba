#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "twingrad/layers/layer.h"
#include "twingrad/losses/loss.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/optim/optimizer.h"

namespace twingrad {

/// Replacements for parts of a manual twin, such as a layer of your own or a planted bug. An empty function
/// leaves the hand-written part in place.
struct ManualParts {
  /// Receives each layer with its parameters, in the order weight, bias, and returns the layer to use.
  std::function<std::unique_ptr<nn::Layer>(std::unique_ptr<nn::Layer> layer, const LayerSpec& spec,
                                           const std::vector<nn::Parameter>& parameters)>
      layer = {};
  std::function<std::unique_ptr<nn::Loss>(std::unique_ptr<nn::Loss> loss)> loss = {};
  /// Returns an optimizer for a slice of the parameters.
  std::function<std::unique_ptr<optim::Optimizer>()> optimizer = {};
};

}  // namespace twingrad
