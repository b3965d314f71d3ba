#pragma once

#include "twingrad/optim/optimizer.h"

namespace twingrad {

/// RMSprop, as torch::optim::RMSprop.
///
///   g ← g + λ w                       weight decay λ
///   v ← a v + (1 − a) g²              running mean of the squared gradient, a = 0.99
///   centered:  m ← a m + (1 − a) g,   v̂ = v − m², an estimate of the variance; otherwise v̂ = v
///   d = g / (√v̂ + ε)
///   momentum:  u ← μ u + d,   w ← w − α u;      without it  w ← w − α d
///
/// m and v start at zero and nothing corrects for it, so the first steps are up to 1/√(1 − a) = 10 times
/// longer than the learning rate α.
///
/// Source: Tieleman, Hinton, Neural networks for machine learning, lecture 6.5 (2012); centered: Graves,
/// Generating sequences with recurrent neural networks (2013), equations 38 to 45.
class RMSprop final : public Optimizer {
 public:
  struct Options {
    double learning_rate = 0.01;
    double alpha = 0.99;
    double epsilon = 1e-8;
    double weight_decay = 0;
    double momentum = 0;
    bool centered = false;
  };

  /// Throws std::invalid_argument for a negative option.
  explicit RMSprop(const Options& options) : options_(options) {
    require_not_negative("RMSprop", {{"learning_rate", options.learning_rate},
                                     {"alpha", options.alpha},
                                     {"epsilon", options.epsilon},
                                     {"weight_decay", options.weight_decay},
                                     {"momentum", options.momentum}});
  }

  void step(Tensor& parameters, const Tensor& gradients) override {
    const auto& [learning_rate, alpha, epsilon, weight_decay, momentum, centered] = options_;
    if (!root_.defined()) {
      begin(parameters);
    }
    const Tensor gradient = weight_decay == 0 ? gradients : gradients.add(parameters, weight_decay);
    square_.mul_(alpha).addcmul_(gradient, gradient, 1 - alpha);
    root_.copy_(square_);
    if (centered) {
      mean_.mul_(alpha).add_(gradient, 1 - alpha);
      root_.addcmul_(mean_, mean_, -1);
    }
    root_.sqrt_().add_(epsilon);
    if (momentum == 0) {
      parameters.addcdiv_(gradient, root_, -learning_rate);
    } else {
      velocity_.mul_(momentum).addcdiv_(gradient, root_);
      parameters.sub_(velocity_, learning_rate);
    }
  }

  void set_learning_rate(double learning_rate) override { options_.learning_rate = learning_rate; }

  std::vector<StateVector> state() override {
    std::vector<StateVector> state = {{"square", &square_}};
    if (options_.centered) {
      state.push_back({"mean", &mean_});
    }
    if (options_.momentum != 0) {
      state.push_back({"velocity", &velocity_});
    }
    return state;
  }

 private:
  void begin(const Tensor& parameters) {
    for (const StateVector& vector : state()) {
      if (!vector.value->defined()) {
        *vector.value = at::zeros_like(parameters);
      }
    }
    root_ = at::empty_like(parameters);
  }

  Options options_;
  Tensor square_, mean_, velocity_, root_;
};

}  // namespace twingrad
