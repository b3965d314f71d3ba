#pragma once

#include <cmath>
#include <cstdint>

#include "twingrad/optim/optimizer.h"

namespace twingrad {

/// Adam, and AdamW with decoupled weight decay, as torch::optim::Adam and torch::optim::AdamW.
///
///   Adam:  g ← g + λ w                weight decay λ as part of the gradient
///   AdamW: w ← w − α λ w              or beside it
///   m ← β₁ m + (1 − β₁) g             running mean of the gradient
///   v ← β₂ v + (1 − β₂) g²            and of its square
///   m̂ = m / (1 − β₁ᵗ),  v̂ = v / (1 − β₂ᵗ)        undo the pull to the zero they started from; t = 1, 2, …
///   w ← w − α m̂ / (√v̂ + ε)
///
/// AMSGrad takes the largest v so far in place of v in v̂, so that the step never grows because v forgets.
///
/// ε stands outside the root and after the correction of v. Elsewhere it changes the first step at g = 1e-9
/// by a factor of 29.
///
/// Source: Kingma, Ba, Adam: a method for stochastic optimization (2015), algorithm 1; Loshchilov, Hutter,
/// Decoupled weight decay regularization (2019), algorithm 2; Reddi, Kale, Kumar, On the convergence of Adam
/// and beyond (2018), algorithm 2.
class Adam final : public Optimizer {
 public:
  struct Options {
    double learning_rate = 1e-3;
    double beta1 = 0.9;
    double beta2 = 0.999;
    double epsilon = 1e-8;
    double weight_decay = 0;
    bool decoupled = false;  ///< true: AdamW
    bool amsgrad = false;
  };

  /// Throws std::invalid_argument for a negative option and for a β that is not below 1.
  explicit Adam(const Options& options) : options_(options) {
    require_not_negative("Adam", {{"learning_rate", options.learning_rate},
                                  {"beta1", options.beta1},
                                  {"beta2", options.beta2},
                                  {"epsilon", options.epsilon},
                                  {"weight_decay", options.weight_decay}});
    if (options.beta1 >= 1 || options.beta2 >= 1) {
      throw std::invalid_argument(c10::str("Adam: beta1 and beta2 have to be below 1, but are ",
                                           options.beta1, " and ", options.beta2));
    }
  }

  void set_learning_rate(double learning_rate) override { options_.learning_rate = learning_rate; }

  void step(Tensor& parameters, const Tensor& gradients) override {
    if (!step_by_sum(parameters, {gradients})) {
      begin_step(parameters);
      step_by_tensor_operations(parameters, gradients);
    }
  }

  /// In one loop over memory (adam_one_pass.cpp): not for AMSGrad, and only where all vectors are contiguous on the CPU.
  bool step_by_sum(Tensor& parameters, const std::vector<Tensor>& gradients) override;

  std::vector<StateVector> state() override {
    std::vector<StateVector> state = {{"mean", &mean_}, {"square", &square_}};
    if (options_.amsgrad) {
      state.push_back({"largest_square", &largest_square_});
    }
    return state;
  }

 private:
  void begin_step(const Tensor& parameters) {
    for (const StateVector& vector : state()) {
      if (!vector.value->defined()) {
        *vector.value = at::zeros_like(parameters);
      }
    }
    ++steps_;
  }

  /// The formulas above, an operation a line, on any device.
  void step_by_tensor_operations(Tensor& parameters, const Tensor& gradients) {
    const auto& [learning_rate, beta1, beta2, epsilon, weight_decay, decoupled, amsgrad] = options_;
    Tensor gradient = gradients;
    if (weight_decay != 0 && decoupled) {
      parameters.mul_(1 - learning_rate * weight_decay);
    } else if (weight_decay != 0) {
      gradient = gradients.add(parameters, weight_decay);
    }
    mean_.mul_(beta1).add_(gradient, 1 - beta1);
    square_.mul_(beta2).addcmul_(gradient, gradient, 1 - beta2);
    if (amsgrad) {
      at::maximum_out(largest_square_, largest_square_, square_);
    }
    if (!scratch_.defined()) {
      scratch_ = at::empty_like(parameters);
    }
    at::sqrt_out(scratch_, amsgrad ? largest_square_ : square_)
        .div_(std::sqrt(correction(beta2)))
        .add_(epsilon);
    parameters.addcdiv_(mean_, scratch_, -learning_rate / correction(beta1));
  }

  /// 1 − βᵗ
  double correction(double beta) const { return 1 - std::pow(beta, static_cast<double>(steps_)); }

  Options options_;
  Tensor mean_, square_;
  Tensor largest_square_;  ///< of AMSGrad alone
  Tensor scratch_;
};

}  // namespace twingrad
