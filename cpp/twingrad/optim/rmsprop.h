#pragma once

#include "twingrad/optim/optimizer.h"

namespace twingrad::optim {

struct RMSpropOptions {
  double lr = 0.01;
  double alpha = 0.99;
  double eps = 1e-8;
  double weight_decay = 0;
  double momentum = 0;
  bool centered = false;
};

/// RMSprop, as torch::optim::RMSprop.
///
///   g ← g + λ w                       weight decay λ
///   v ← a v + (1 − a) g²              running mean of the squared gradient, a = 0.99: square_avg
///   centered:  m ← a m + (1 − a) g,   v̂ = v − m², an estimate of the variance; otherwise v̂ = v
///   d = g / (√v̂ + ε)
///   momentum:  u ← μ u + d,   w ← w − α u;      without it  w ← w − α d
///
/// m is grad_avg, u is momentum_buffer. m and v start at zero without a bias correction, so the first steps
/// are up to 1/√(1 − a) = 10 times longer than the learning rate α.
///
/// Source: Tieleman, Hinton, Neural networks for machine learning, lecture 6.5 (2012); centered: Graves,
/// Generating sequences with recurrent neural networks (2013), equations 38 to 45.
class RMSprop final : public Optimizer {
 public:
  /// Throws std::invalid_argument for a negative option.
  explicit RMSprop(const RMSpropOptions& options) : options_(options) {
    require_not_negative("RMSprop", {{"lr", options.lr},
                                     {"alpha", options.alpha},
                                     {"eps", options.eps},
                                     {"weight_decay", options.weight_decay},
                                     {"momentum", options.momentum}});
  }

  void step(Tensor& parameters, TensorList gradient_parts) override {
    const auto& [lr, alpha, eps, weight_decay, momentum, centered] = options_;
    initialize_state(parameters);
    const Tensor& g = sum(gradient_parts);
    const Tensor gradient = weight_decay == 0 ? g : g.add(parameters, weight_decay);
    square_avg_.mul_(alpha).addcmul_(gradient, gradient, 1 - alpha);
    Tensor root = square_avg_.clone();
    if (centered) {
      grad_avg_.mul_(alpha).add_(gradient, 1 - alpha);
      root.addcmul_(grad_avg_, grad_avg_, -1);
    }
    root.sqrt_().add_(eps);
    ++steps_;
    if (momentum == 0) {
      parameters.addcdiv_(gradient, root, -lr);
    } else {
      momentum_buffer_.mul_(momentum).addcdiv_(gradient, root);
      parameters.sub_(momentum_buffer_, lr);
    }
  }

  void set_lr(double lr) override { options_.lr = lr; }

  std::vector<StateVector> state() override {
    std::vector<StateVector> state = {{"square_avg", &square_avg_}};
    if (options_.centered) {
      state.push_back({"grad_avg", &grad_avg_});
    }
    if (options_.momentum != 0) {
      state.push_back({"momentum_buffer", &momentum_buffer_});
    }
    return state;
  }

 private:
  RMSpropOptions options_;
  Tensor square_avg_, grad_avg_, momentum_buffer_;
};

}  // namespace twingrad::optim
