#pragma once

#include <cmath>
#include <utility>

#include "twingrad/ops/fused_adam.h"
#include "twingrad/optim/optimizer.h"

namespace twingrad::optim {

struct AdamOptions {
  double lr = 1e-3;
  std::pair<double, double> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 0;
  bool decoupled = false;  ///< true: AdamW
  bool amsgrad = false;
};

/// Adam, and AdamW with decoupled weight decay, as torch::optim::Adam and torch::optim::AdamW.
///
///   Adam:  g ← g + λ w                weight decay λ as part of the gradient
///   AdamW: w ← w − α λ w              weight decay apart from the gradient
///   m ← β₁ m + (1 − β₁) g             running mean of the gradient: exp_avg
///   v ← β₂ v + (1 − β₂) g²            running mean of its square: exp_avg_sq
///   m̂ = m / (1 − β₁ᵗ),  v̂ = v / (1 − β₂ᵗ)        corrects the bias towards the initial 0; t = 1, 2, …
///   w ← w − α m̂ / (√v̂ + ε)
///
/// AMSGrad uses the largest v so far (max_exp_avg_sq) in place of v in v̂, so that the step does not grow
/// when v decays.
///
/// ε is added outside the root, after v has been corrected. Other placements change the first step at g =
/// 1e-9 by a factor of 29.
///
/// Source: Kingma, Ba, Adam: a method for stochastic optimization (2015), algorithm 1; Loshchilov, Hutter,
/// Decoupled weight decay regularization (2019), algorithm 2; Reddi, Kale, Kumar, On the convergence of
/// Adam and beyond (2018), algorithm 2.
class Adam final : public Optimizer {
 public:
  /// Throws std::invalid_argument for a negative option and for a β that is not below 1.
  explicit Adam(const AdamOptions& options) : options_(options) {
    const auto& [beta1, beta2] = options.betas;
    require_not_negative("Adam", {{"lr", options.lr},
                                  {"beta1", beta1},
                                  {"beta2", beta2},
                                  {"eps", options.eps},
                                  {"weight_decay", options.weight_decay}});
    if (beta1 >= 1 || beta2 >= 1) {
      throw std::invalid_argument(
          c10::str("Adam: beta1 and beta2 must be below 1, but are ", beta1, " and ", beta2));
    }
  }

  void step(Tensor& parameters, TensorList gradient_parts) override {
    initialize_state(parameters);
    const auto& [beta1, beta2] = options_.betas;
    const ops::AdamState state = {exp_avg_, exp_avg_sq_, max_exp_avg_sq_};
    ops::AdamCoefficients coefficients = {.lr = options_.lr,
                                          .beta1 = beta1,
                                          .beta2 = beta2,
                                          .eps = options_.eps,
                                          .weight_decay = options_.weight_decay,
                                          .decoupled = options_.decoupled};
    if (!parameters.is_cpu()) {
      if (!on_device_.steps.defined()) {
        on_device_ = {at::full({}, steps_, parameters.options().dtype(at::kDouble)),
                      at::full({}, options_.lr, parameters.options().dtype(at::kDouble))};
      }
      ops::adam_on_device(parameters, sum(gradient_parts), state, coefficients, on_device_);
      ++steps_;
      return;
    }
    ++steps_;
    const auto t = static_cast<double>(steps_);
    coefficients.correction1 = 1 - std::pow(beta1, t);
    coefficients.correction2 = 1 - std::pow(beta2, t);
    ops::fused_adam(parameters, gradient_parts, state, coefficients);
  }

  void set_lr(double lr) override {
    options_.lr = lr;
    if (on_device_.lr.defined()) {
      on_device_.lr.fill_(lr);
    }
  }

  void set_steps(std::int64_t steps) override {
    steps_ = steps;
    on_device_ = {};
  }

  bool can_be_recorded() const override { return on_device_.steps.defined(); }

  std::vector<StateVector> state() override {
    std::vector<StateVector> state = {{"exp_avg", &exp_avg_}, {"exp_avg_sq", &exp_avg_sq_}};
    if (options_.amsgrad) {
      state.push_back({"max_exp_avg_sq", &max_exp_avg_sq_});
    }
    return state;
  }

 private:
  AdamOptions options_;
  Tensor exp_avg_, exp_avg_sq_, max_exp_avg_sq_;
  ops::AdamOnDevice on_device_;  ///< undefined on the CPU
};

}  // namespace twingrad::optim
