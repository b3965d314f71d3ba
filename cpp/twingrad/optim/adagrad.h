#pragma once

#include "twingrad/optim/optimizer.h"

namespace twingrad::optim {

struct AdagradOptions {
  double lr = 0.01;
  double lr_decay = 0;
  double weight_decay = 0;
  double initial_accumulator_value = 0;
  double eps = 1e-10;
};

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
  /// Throws std::invalid_argument for a negative option.
  explicit Adagrad(const AdagradOptions& options) : options_(options) {
    require_not_negative("Adagrad", {{"lr", options.lr},
                                     {"lr_decay", options.lr_decay},
                                     {"weight_decay", options.weight_decay},
                                     {"initial_accumulator_value", options.initial_accumulator_value},
                                     {"eps", options.eps}});
  }

  void step(Tensor& parameters, TensorList gradient_parts) override {
    const auto& [lr, lr_decay, weight_decay, initial_value, eps] = options_;
    if (!sum_.defined()) {
      sum_ = at::full_like(parameters, initial_value);
    }
    const Tensor& g = sum(gradient_parts);
    const Tensor gradient = weight_decay == 0 ? g : g.add(parameters, weight_decay);
    sum_.addcmul_(gradient, gradient);
    const double rate = lr / (1 + static_cast<double>(steps_) * lr_decay);
    parameters.addcdiv_(gradient, sum_.sqrt().add_(eps), -rate);
    ++steps_;  // t − 1 in the next step
  }

  void set_lr(double lr) override { options_.lr = lr; }

  std::vector<StateVector> state() override { return {{"sum", &sum_}}; }

 private:
  AdagradOptions options_;
  Tensor sum_;
};

}  // namespace twingrad::optim
