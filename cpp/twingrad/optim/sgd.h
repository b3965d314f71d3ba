#pragma once

#include "twingrad/optim/optimizer.h"

namespace twingrad {

/// Gradient descent, plain or with momentum, as torch::optim::SGD.
///
///   g ← g + λ w                       weight decay λ: the gradient of λ/2 |w|²
///   v ← μ v + (1 − τ) g               momentum μ, dampening τ; in the first step v ← g
///   d = v,  Nesterov: d = g + μ v     without momentum: d = g
///   w ← w − α d                       learning rate α
///
/// Source: Sutskever, Martens, Dahl, Hinton, On the importance of initialization and momentum (2013), in the
/// form that LibTorch gives it (the learning rate outside the velocity).
class SGD final : public Optimizer {
 public:
  struct Options {
    double learning_rate = 0.01;
    double momentum = 0;
    double dampening = 0;
    double weight_decay = 0;
    bool nesterov = false;
  };

  /// Throws std::invalid_argument for a negative option, and for Nesterov's rule without momentum or with
  /// dampening.
  explicit SGD(const Options& options) : options_(options) {
    require_not_negative("SGD", {{"learning_rate", options.learning_rate},
                                 {"momentum", options.momentum},
                                 {"weight_decay", options.weight_decay}});
    if (options.nesterov && (options.momentum == 0 || options.dampening != 0)) {
      throw std::invalid_argument(
          c10::str("SGD: nesterov wants a momentum above 0 and dampening 0, but they are ", options.momentum,
                   " and ", options.dampening));
    }
  }

  void set_learning_rate(double learning_rate) override { options_.learning_rate = learning_rate; }

  std::vector<StateVector> state() override {
    return options_.momentum != 0 ? std::vector<StateVector>{{"velocity", &velocity_}}
                                  : std::vector<StateVector>{};
  }

  void step(Tensor& parameters, const Tensor& gradients) override {
    const auto& [learning_rate, momentum, dampening, weight_decay, nesterov] = options_;
    if (weight_decay == 0 && momentum == 0) {
      parameters.sub_(gradients, learning_rate);
      return;
    }
    direction_ = gradients.clone();
    if (weight_decay != 0) {
      direction_.add_(parameters, weight_decay);
    }
    if (momentum != 0) {
      if (!velocity_.defined()) {
        velocity_ = direction_.clone();
      } else {
        velocity_.mul_(momentum).add_(direction_, 1 - dampening);
      }
      if (nesterov) {
        direction_.add_(velocity_, momentum);
      } else {
        direction_.copy_(velocity_);
      }
    }
    parameters.sub_(direction_, learning_rate);
  }

 private:
  Options options_;
  Tensor velocity_, direction_;
};

}  // namespace twingrad
