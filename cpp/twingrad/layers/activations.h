#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "twingrad/layers/layer.h"

namespace twingrad::nn {

/// An activation by the name that --activation takes.
struct ActivationEntry {
  std::string name;
  std::unique_ptr<Layer> (*make)();
  /// The points where the slope jumps. Rounding can put the two twins on different sides of one.
  std::vector<double> kinks;
};

/// All activations.
const std::vector<ActivationEntry>& activations();

/// The activation of that name, or nullptr.
const ActivationEntry* find_activation(std::string_view name);

}  // namespace twingrad::nn
