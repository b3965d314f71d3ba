#pragma once

namespace twingrad {

/// The optimizer of a run. Each twin makes its own from it: a class of optim/, or one of torch::optim.
struct OptimizerOptions {
  enum class Kind { sgd, adam, adamw };
  Kind kind = Kind::adam;
  double learning_rate = 1e-3;
  double momentum = 0;      ///< sgd alone
  bool nesterov = false;    ///< sgd alone
  double weight_decay = 0;  ///< sgd, adam: part of the gradient; adamw: decoupled
};

}  // namespace twingrad
