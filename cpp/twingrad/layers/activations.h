#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "twingrad/layers/activation.h"

namespace twingrad {

/// An activation as it is chosen by name, for example with --activation.
struct ActivationEntry {
  std::string name;
  std::unique_ptr<Activation> (*make)();
  /// Where the slope jumps. Rounding can put one twin left and the other right of such a point.
  std::vector<double> kinks;
};

/// All activations.
const std::vector<ActivationEntry>& activations();

/// The activation of that name, or nullptr.
const ActivationEntry* find_activation(std::string_view name);

}  // namespace twingrad
