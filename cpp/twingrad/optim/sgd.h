#pragma once

#include "twingrad/optim/optimizer.h"

namespace twingrad::optim {

struct SGDOptions {
  double lr = 0.01;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
};

/// Gradient descent, plain or with momentum, as torch::optim::SGD.
///
///   g ← g + λ w                       weight decay λ: the gradient of λ/2 |w|²
///   v ← μ v + (1 − τ) g               momentum μ, dampening τ; in the first step v ← g. v is momentum_buffer
///   d = v,  Nesterov: d = g + μ v     without momentum: d = g
///   w ← w − α d                       learning rate α
///
/// Source: Sutskever, Martens, Dahl, Hinton, On the importance of initialization and momentum (2013), in
/// the form that LibTorch gives it (the learning rate outside the velocity).
class SGD final : public Optimizer {
 public:
  /// Throws std::invalid_argument for a negative lr, momentum or weight_decay, and for Nesterov's rule
  /// without momentum or with dampening.
  explicit SGD(const SGDOptions& options) : options_(options) {
    require_not_negative(
        "SGD", {{"lr", options.lr}, {"momentum", options.momentum}, {"weight_decay", options.weight_decay}});
    if (options.nesterov && (options.momentum == 0 || options.dampening != 0)) {
      throw std::invalid_argument(
          c10::str("SGD: nesterov requires a momentum above 0 and dampening 0, but they are ",
                   options.momentum, " and ", options.dampening));
    }
  }

  void step(Tensor& parameters, TensorList gradient_parts) override {
    const auto& [lr, momentum, dampening, weight_decay, nesterov] = options_;
    const Tensor& g = sum(gradient_parts);
    const Tensor gradient = weight_decay == 0 ? g : g.add(parameters, weight_decay);
    if (momentum == 0) {
      parameters.sub_(gradient, lr);
      return;
    }
    if (!momentum_buffer_.defined()) {
      momentum_buffer_ = gradient.clone();
    } else {
      momentum_buffer_.mul_(momentum).add_(gradient, 1 - dampening);
    }
    parameters.sub_(nesterov ? gradient.add(momentum_buffer_, momentum) : momentum_buffer_, lr);
  }

  void set_lr(double lr) override { options_.lr = lr; }

  std::vector<StateVector> state() override {
    return options_.momentum != 0 ? std::vector<StateVector>{{"momentum_buffer", &momentum_buffer_}}
                                  : std::vector<StateVector>{};
  }

 private:
  SGDOptions options_;
  Tensor momentum_buffer_;
};

}  // namespace twingrad::optim
