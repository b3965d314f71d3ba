#pragma once

#include <functional>
#include <vector>

#include "twingrad/optim/options.h"

namespace twingrad::testing {

/// A change of one option.
using OptionChange = std::function<void(OptimizerOptions&)>;

/// Every option of this kind of optimizer except the learning rate, with a value other than its default.
inline std::vector<OptionChange> option_changes(OptimizerOptions::Kind kind) {
  using Kind = OptimizerOptions::Kind;
  using O = OptimizerOptions;
  const OptionChange decay = [](O& o) { o.weight_decay = 0.1; };
  const OptionChange momentum = [](O& o) { o.momentum = 0.8; };
  const OptionChange eps = [](O& o) { o.eps = 1e-2; };
  switch (kind) {
    case Kind::sgd:
      return {momentum, [](O& o) { o.nesterov = true; }, [](O& o) { o.dampening = 0.3; }, decay};
    case Kind::adam:
    case Kind::adamw:
      return {[](O& o) { o.amsgrad = true; }, [](O& o) { o.beta1 = 0.5; }, [](O& o) { o.beta2 = 0.9; }, eps,
              decay};
    case Kind::rmsprop:
      return {momentum, [](O& o) { o.centered = true; }, [](O& o) { o.alpha = 0.9; }, eps, decay};
    case Kind::adagrad:
      return {[](O& o) { o.lr_decay = 0.1; }, [](O& o) { o.initial_accumulator_value = 0.5; }, eps, decay};
  }
  return {};
}

inline bool is_valid(const OptimizerOptions& options) {
  return !options.nesterov || (options.momentum > 0 && options.dampening == 0);
}

/// Every optimizer with every subset of its options.
inline std::vector<OptimizerOptions> every_combination() {
  std::vector<OptimizerOptions> all;
  for (const auto& [name, kind] : optimizer_kinds()) {
    const std::vector<OptionChange> changes = option_changes(kind);
    for (unsigned subset = 0; subset < 1U << changes.size(); ++subset) {
      OptimizerOptions options = default_options(kind);
      options.weight_decay = 0;
      for (std::size_t i = 0; i < changes.size(); ++i) {
        if (((subset >> i) & 1U) != 0) {
          changes[i](options);
        }
      }
      if (is_valid(options)) {
        all.push_back(options);
      }
    }
  }
  return all;
}

}  // namespace twingrad::testing
