#include "twingrad/catalogue/optimizers.h"

#include <algorithm>
#include <cmath>

#include "twingrad/catalogue/cases.h"
#include "twingrad/mlp/torch_reference_optimizer.h"
#include "twingrad/optim/make_optimizer.h"

namespace twingrad::catalogue {
namespace {

using Kind = OptimizerOptions::Kind;

/// The state of a wrong rule.
struct RuleState {
  int step = 0;
  Tensor first, second, largest;
};

/// An optimizer defined by one function, for the planted bugs.
class Rule final : public optim::Optimizer {
 public:
  using Function = std::function<void(Tensor& w, const Tensor& g, RuleState& state)>;
  explicit Rule(Function function) : function_(std::move(function)) {}

  void step(Tensor& parameters, at::TensorList gradient_parts) override {
    if (state_.step++ == 0) {
      state_.first = at::zeros_like(parameters);
      state_.second = at::zeros_like(parameters);
      state_.largest = at::zeros_like(parameters);
    }
    function_(parameters, sum(gradient_parts), state_);
  }

  void set_lr(double /*lr*/) override {}
  std::vector<StateVector> state() override { return {}; }

 private:
  Function function_;
  RuleState state_;
};

OptimizerBug bug(const std::string& name, const std::string& why, const Rule::Function& rule) {
  return {name, why, [rule] { return std::make_unique<Rule>(rule); }};
}

OptimizerBug wrong_options(const std::string& name, const std::string& why, const OptimizerOptions& options) {
  return {name, why, [options] { return optim::make_optimizer(options); }};
}

/// The options with this kind, its default learning rate and its default epsilon.
OptimizerOptions of_kind(Kind kind, OptimizerOptions options) {
  options.kind = kind;
  options.lr = default_options(kind).lr;
  options.eps = default_options(kind).eps;
  return options;
}

// ---- SGD ----

std::vector<OptimizerEntry> sgd_entries() {
  const auto sgd = [](const OptimizerOptions& options) { return of_kind(Kind::sgd, options); };
  return {
      {"sgd",
       sgd({}),
       {bug("sgd.ascent", "the sign is lost between the gradient and the step",
            [](Tensor& w, const Tensor& g, RuleState&) { w.add_(g, 0.01); }),
        bug("sgd.normalized", "the gradient is divided by its norm, so only its direction counts",
            [](Tensor& w, const Tensor& g, RuleState&) { w.sub_(g / g.norm(), 0.01); })}},
      {"sgd.weight_decay",
       sgd({.weight_decay = 0.1}),
       {bug("sgd.weight_decay.without_rate", "λ w instead of α λ w: the decay lacks the learning rate",
            [](Tensor& w, const Tensor& g, RuleState&) { w.mul_(1 - 0.1).sub_(g, 0.01); }),
        bug("sgd.weight_decay.l1", "the gradient of |w| instead of w²/2: L1 regularization",
            [](Tensor& w, const Tensor& g, RuleState&) { w.sub_(g + 0.1 * w.sign(), 0.01); })}},
      {"sgd.momentum",
       sgd({.momentum = 0.9}),
       {bug("sgd.momentum.reset",
            "the velocity is a local variable, so it is zero at the start of every step",
            [](Tensor& w, const Tensor& g, RuleState&) { w.sub_(g, 0.01); }),
        bug("sgd.momentum.average", "v ← μ v + (1 − μ) g, as in Adam: a step ten times smaller",
            [](Tensor& w, const Tensor& g, RuleState& s) {
              s.first.mul_(0.9).add_(g, 0.1);
              w.sub_(s.first, 0.01);
            })}},
      {"sgd.dampening",
       sgd({.momentum = 0.9, .dampening = 0.5}),
       {bug("sgd.dampening.in_the_first_step", "dampening does not apply to the first velocity, which is g",
            [](Tensor& w, const Tensor& g, RuleState& s) {
              s.first.mul_(0.9).add_(g, 0.5);
              w.sub_(s.first, 0.01);
            }),
        wrong_options("sgd.dampening.forgotten", "the option is read but not used", sgd({.momentum = 0.9}))}},
      {"sgd.nesterov",
       sgd({.momentum = 0.9, .nesterov = true}),
       {bug("sgd.nesterov.old_velocity", "the look-ahead uses the velocity before its update",
            [](Tensor& w, const Tensor& g, RuleState& s) {
              const Tensor direction = g + 0.9 * s.first;
              s.first.mul_(0.9).add_(g);
              w.sub_(direction, 0.01);
            }),
        wrong_options("sgd.nesterov.no_look_ahead", "the step is the velocity alone: plain momentum",
                      sgd({.momentum = 0.9}))}},
  };
}

// ---- Adam ----

/// m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²
void update_moments(RuleState& s, const Tensor& g) {
  s.first.mul_(0.9).add_(g, 0.1);
  s.second.mul_(0.999).addcmul_(g, g, 0.001);
}

/// 1 − βᵗ
double correction(double beta, const RuleState& s) { return 1 - std::pow(beta, s.step); }

/// Adam's step from the numerator m̂ and the corrected v̂.
void adam_step(Tensor& w, const Tensor& m, const Tensor& v) { w.sub_(1e-3 * m / (v.sqrt() + 1e-8)); }

std::vector<OptimizerBug> adam_bugs() {
  return {bug("adam.no_correction_of_the_mean", "m starts at zero, and the bias this causes is not corrected",
              [](Tensor& w, const Tensor& g, RuleState& s) {
                update_moments(s, g);
                adam_step(w, s.first, s.second / correction(0.999, s));
              }),
          bug("adam.no_correction_of_the_square", "v is not corrected: the first steps are far too long",
              [](Tensor& w, const Tensor& g, RuleState& s) {
                update_moments(s, g);
                adam_step(w, s.first / correction(0.9, s), s.second);
              }),
          bug("adam.epsilon_inside_the_root", "√(v̂ + ε) instead of √v̂ + ε: shows only in tiny gradients",
              [](Tensor& w, const Tensor& g, RuleState& s) {
                update_moments(s, g);
                const Tensor root = (s.second / correction(0.999, s) + 1e-8).sqrt();
                w.sub_(1e-3 * s.first / correction(0.9, s) / root);
              }),
          bug("adam.epsilon_before_the_correction",
              "ε is added to √v, not to √v̂: a published variant that differs only for tiny gradients",
              [](Tensor& w, const Tensor& g, RuleState& s) {
                update_moments(s, g);
                const Tensor root = (s.second.sqrt() + 1e-8) / std::sqrt(correction(0.999, s));
                w.sub_(1e-3 * s.first / correction(0.9, s) / root);
              }),
          bug("adam.square_not_squared", "v averages |g| instead of g²",
              [](Tensor& w, const Tensor& g, RuleState& s) {
                s.first.mul_(0.9).add_(g, 0.1);
                s.second.mul_(0.999).add_(g.abs(), 0.001);
                adam_step(w, s.first / correction(0.9, s), s.second / correction(0.999, s));
              })};
}

std::vector<OptimizerEntry> adam_entries() {
  const auto adamw = [](const OptimizerOptions& options) { return of_kind(Kind::adamw, options); };
  return {
      {"adam", {}, adam_bugs()},
      {"adam.weight_decay",
       {.weight_decay = 0.1},
       {wrong_options("adam.weight_decay.decoupled", "AdamW's decay in Adam: both are called weight decay",
                      adamw({.weight_decay = 0.1})),
        bug("adam.weight_decay.after_the_moments", "λ w is added to m̂ after m and v were updated",
            [](Tensor& w, const Tensor& g, RuleState& s) {
              update_moments(s, g);
              adam_step(w, s.first / correction(0.9, s) + 0.1 * w, s.second / correction(0.999, s));
            })}},
      {"adamw",
       adamw({.weight_decay = 0.01}),
       {wrong_options("adamw.coupled", "Adam's decay in AdamW", {.weight_decay = 0.01}),
        wrong_options("adamw.decay_without_rate", "w is multiplied by 1 − λ, not by 1 − α λ",
                      adamw({.weight_decay = 10}))}},
      {"adam.amsgrad",
       {.amsgrad = true},
       {wrong_options("adam.amsgrad.no_maximum", "the current v replaces the largest v", {}),
        bug("adam.amsgrad.corrected_first", "the largest v̂ instead of the correction of the largest v",
            [](Tensor& w, const Tensor& g, RuleState& s) {
              update_moments(s, g);
              at::maximum_out(s.largest, s.largest, s.second / correction(0.999, s));
              adam_step(w, s.first / correction(0.9, s), s.largest);
            })}},
      {"adamw.amsgrad",
       adamw({.amsgrad = true, .weight_decay = 0.01}),
       {wrong_options("adamw.amsgrad.coupled", "Adam's decay in AdamW",
                      {.amsgrad = true, .weight_decay = 0.01}),
        wrong_options("adamw.amsgrad.no_maximum", "the current v replaces the largest v",
                      adamw({.weight_decay = 0.01}))}},
  };
}

// ---- RMSprop, Adagrad ----

/// RMSprop's step: v ← a v + (1 − a) g²,  w ← w − α d / (√v + ε).
void rmsprop_step(Tensor& w, const Tensor& g, const Tensor& d, RuleState& s) {
  s.second.mul_(0.99).addcmul_(g, g, 0.01);
  w.sub_(0.01 * d / (s.second.sqrt() + 1e-8));
}

std::vector<OptimizerEntry> rmsprop_entries() {
  const auto rmsprop = [](const OptimizerOptions& options) { return of_kind(Kind::rmsprop, options); };
  return {
      {"rmsprop",
       rmsprop({}),
       {bug("rmsprop.epsilon_inside_the_root", "√(v + ε) instead of √v + ε: shows only in tiny gradients",
            [](Tensor& w, const Tensor& g, RuleState& s) {
              s.second.mul_(0.99).addcmul_(g, g, 0.01);
              w.sub_(0.01 * g / (s.second + 1e-8).sqrt());
            }),
        bug("rmsprop.bias_corrected", "Adam's bias correction, which RMSprop does not have",
            [](Tensor& w, const Tensor& g, RuleState& s) {
              s.second.mul_(0.99).addcmul_(g, g, 0.01);
              w.sub_(0.01 * g / ((s.second / correction(0.99, s)).sqrt() + 1e-8));
            })}},
      {"rmsprop.momentum",
       rmsprop({.momentum = 0.9}),
       {wrong_options("rmsprop.momentum.forgotten", "the velocity is computed but not used", rmsprop({})),
        bug("rmsprop.momentum.before_the_root", "the velocity accumulates g and is divided by √v afterwards",
            [](Tensor& w, const Tensor& g, RuleState& s) {
              s.first.mul_(0.9).add_(g);
              rmsprop_step(w, g, s.first, s);
            })}},
      {"rmsprop.centered",
       rmsprop({.centered = true}),
       {wrong_options("rmsprop.centered.mean_forgotten", "v instead of v − m²", rmsprop({})),
        bug("rmsprop.centered.mean_not_squared", "v − m instead of v − m²: the mean is not squared",
            [](Tensor& w, const Tensor& g, RuleState& s) {
              s.second.mul_(0.99).addcmul_(g, g, 0.01);
              s.first.mul_(0.99).add_(g, 0.01);
              w.sub_(0.01 * g / ((s.second - s.first).abs().sqrt() + 1e-8));
            })}},
      {"rmsprop.weight_decay",
       rmsprop({.weight_decay = 0.1}),
       {bug("rmsprop.weight_decay.after_the_square", "the decay is added after v was updated",
            [](Tensor& w, const Tensor& g, RuleState& s) { rmsprop_step(w, g, g + 0.1 * w, s); }),
        wrong_options("rmsprop.weight_decay.forgotten", "the option is read but not used", rmsprop({}))}},
  };
}

std::vector<OptimizerEntry> adagrad_entries() {
  const auto adagrad = [](const OptimizerOptions& options) { return of_kind(Kind::adagrad, options); };
  return {
      {"adagrad",
       adagrad({}),
       {bug("adagrad.running_mean", "a running mean instead of the sum: this is RMSprop",
            [](Tensor& w, const Tensor& g, RuleState& s) {
              s.second.mul_(0.99).addcmul_(g, g, 0.01);
              w.sub_(0.01 * g / (s.second.sqrt() + 1e-10));
            }),
        bug("adagrad.root_forgotten", "the step is divided by the sum of squares instead of its root",
            [](Tensor& w, const Tensor& g, RuleState& s) {
              s.second.addcmul_(g, g);
              w.sub_(0.01 * g / (s.second + 1e-10));
            })}},
      {"adagrad.rate_decay",
       adagrad({.lr_decay = 0.01}),
       {wrong_options("adagrad.rate_decay.forgotten", "the option is read but not used", adagrad({})),
        bug("adagrad.rate_decay.from_one",
            "α / (1 + t η) counts t from 0; from 1 the first step is too short",
            [](Tensor& w, const Tensor& g, RuleState& s) {
              s.second.addcmul_(g, g);
              w.sub_(0.01 / (1 + 0.01 * s.step) * g / (s.second.sqrt() + 1e-10));
            })}},
      {"adagrad.weight_decay",
       adagrad({.weight_decay = 0.1, .initial_accumulator_value = 0.5}),
       {wrong_options("adagrad.weight_decay.start_at_zero",
                      "initial_accumulator_value is not used: the sum starts at 0",
                      adagrad({.weight_decay = 0.1})),
        wrong_options("adagrad.weight_decay.forgotten", "the option is read but not used",
                      adagrad({.initial_accumulator_value = 0.5}))}},
  };
}

double finite_max(const Tensor& values) {
  const double value = values.max().item<double>();
  return std::isfinite(value) ? value : kInfinity;
}

}  // namespace

std::vector<OptimizerEntry> optimizer_entries() {
  return sgd_entries() + adam_entries() + rmsprop_entries() + adagrad_entries();
}

Difference compare_steps(optim::Optimizer& optimizer, const OptimizerOptions& options,
                         const at::TensorOptions& placement) {
  constexpr int kSteps = 1000;
  constexpr std::int64_t kParameters = 60;
  // Rounded to float32 first: the rounding of the start and of a gradient is not the rule's error.
  const auto drawn = [&](const Tensor& scale) {
    return (draw({kParameters}) * scale).to(placement).to(placement.dtype(at::kDouble));
  };
  const Tensor sizes = at::logspace(-9, 1, kParameters, 10, at::kDouble);
  const Tensor expected = drawn(at::ones({kParameters}, at::kDouble)).set_requires_grad(true);
  torch_reference::Optimizer reference(options, {expected});
  Tensor parameters = expected.detach().to(placement, false, /*copy=*/true);
  Difference worst;
  for (int step = 0; step < kSteps; ++step) {
    const Tensor gradient = drawn(sizes);
    expected.mutable_grad() = gradient.clone();
    reference.step();
    optimizer.step(parameters, gradient.to(placement));
    const Tensor distance = (parameters.to(at::kDouble) - expected.detach()).abs();
    worst.absolute = std::max(worst.absolute, finite_max(distance));
    worst.relative = std::max(worst.relative, finite_max(distance / expected.detach().abs().clamp_min(1)));
    if (parameters.scalar_type() != at::kDouble) {
      parameters.copy_(expected.detach());
    }
  }
  return worst;
}

}  // namespace twingrad::catalogue
