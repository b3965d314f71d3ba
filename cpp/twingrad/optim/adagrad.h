#pragma once

#include <cstdint>

#include "twingrad/optim/optimizer.h"

namespace twingrad {

/// Adagrad, as torch::optim::Adagrad.
///
///   g ← g + λ w                              weight decay λ
///   s ← s + g²                               the sum of all squared gradients; it starts at s₀
///   w ← w − α / (1 + (t − 1) η) · g / (√s + ε)        learning rate α with decay η; t = 1, 2, …
///
/// Source: Duchi, Hazan, Singer, Adaptive subgradient methods for online learning and stochastic optimization
/// (2011), in its diagonal form.
class Adagrad final : public Optimizer {
 public:
  struct Options {
    double learning_rate = 0.01;
    double learning_rate_decay = 0;
    double weight_decay = 0;
    double initial_accumulator_value = 0;
    double epsilon = 1e-10;
  };

  /// Throws std::invalid_argument for a negative option.
  explicit Adagrad(const Options& options) : options_(options) {
    require_not_negative("Adagrad", {{"learning_rate", options.learning_rate},
                                     {"learning_rate_decay", options.learning_rate_decay},
                                     {"weight_decay", options.weight_decay},
                                     {"initial_accumulator_value", options.initial_accumulator_value},
                                     {"epsilon", options.epsilon}});
  }

  void step(Tensor& parameters, const Tensor& gradients) override {
    const auto& [learning_rate, rate_decay, weight_decay, initial_value, epsilon] = options_;
    if (!root_.defined()) {
      sum_ = sum_.defined() ? sum_ : at::full_like(parameters, initial_value);
      root_ = at::empty_like(parameters);
    }
    const Tensor gradient = weight_decay == 0 ? gradients : gradients.add(parameters, weight_decay);
    sum_.addcmul_(gradient, gradient);
    at::sqrt_out(root_, sum_).add_(epsilon);
    const double rate = learning_rate / (1 + static_cast<double>(steps_) * rate_decay);
    parameters.addcdiv_(gradient, root_, -rate);
    ++steps_;  // t − 1 in the next step
  }

  void set_learning_rate(double learning_rate) override { options_.learning_rate = learning_rate; }

  std::vector<StateVector> state() override { return {{"sum", &sum_}}; }

 private:
  Options options_;
  Tensor sum_, root_;
};

}  // namespace twingrad
