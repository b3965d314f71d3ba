#include "twingrad/catalogue/optimizers.h"

#include <torch/optim/adagrad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

#include <cmath>
#include <limits>

#include "twingrad/catalogue/cases.h"
#include "twingrad/optim/adagrad.h"
#include "twingrad/optim/adam.h"
#include "twingrad/optim/rmsprop.h"
#include "twingrad/optim/sgd.h"

namespace twingrad::catalogue {
namespace {

/// The memory of a wrong rule.
struct Memory {
  int step = 0;
  Tensor first, second, largest;
};

/// An optimizer that is one function: how the bugs are written.
class Rule final : public Optimizer {
 public:
  using Function = std::function<void(Tensor& w, const Tensor& g, Memory& memory)>;
  explicit Rule(Function function) : function_(std::move(function)) {}

  void step(Tensor& parameters, TensorList gradient_parts) override {
    if (memory_.step++ == 0) {
      memory_.first = at::zeros_like(parameters);
      memory_.second = at::zeros_like(parameters);
    }
    function_(parameters, sum(gradient_parts), memory_);
  }

  void set_lr(double /*lr*/) override {}

  std::vector<StateVector> state() override {
    return {{"first", &memory_.first}, {"second", &memory_.second}};
  }

 private:
  Function function_;
  Memory memory_;
};

OptimizerBug bug(const std::string& name, const std::string& why, const Rule::Function& rule) {
  return {name, why, [rule] { return std::make_unique<Rule>(rule); }};
}

OptimizerBug wrong_options(const std::string& name, const std::string& why, const SGDOptions& options) {
  return {name, why, [=] { return std::make_unique<SGD>(options); }};
}
OptimizerBug wrong_options(const std::string& name, const std::string& why, const AdamOptions& options) {
  return {name, why, [=] { return std::make_unique<Adam>(options); }};
}
OptimizerBug wrong_options(const std::string& name, const std::string& why, const RMSpropOptions& options) {
  return {name, why, [=] { return std::make_unique<RMSprop>(options); }};
}
OptimizerBug wrong_options(const std::string& name, const std::string& why, const AdagradOptions& options) {
  return {name, why, [=] { return std::make_unique<Adagrad>(options); }};
}

// ---- SGD ----

OptimizerEntry sgd(const std::string& name, const SGDOptions& options,
                   const std::vector<OptimizerBug>& bugs) {
  return {.name = name,
          .make = [=] { return std::make_unique<SGD>(options); },
          .reference =
              [=](const Tensor& parameters) {
                return std::make_unique<torch::optim::SGD>(std::vector<Tensor>{parameters},
                                                           torch::optim::SGDOptions(options.lr)
                                                               .momentum(options.momentum)
                                                               .dampening(options.dampening)
                                                               .weight_decay(options.weight_decay)
                                                               .nesterov(options.nesterov));
              },
          .bugs = bugs};
}

std::vector<OptimizerEntry> sgd_entries() {
  return {
      sgd("sgd", {.lr = 0.01},
          {bug("sgd.ascent", "the sign is lost between the gradient and the step",
               [](Tensor& w, const Tensor& g, Memory&) { w.add_(g, 0.01); }),
           bug("sgd.normalized", "the direction alone is followed: the gradient is divided by its length",
               [](Tensor& w, const Tensor& g, Memory&) { w.sub_(g / g.norm(), 0.01); })}),
      sgd("sgd.weight_decay", {.lr = 0.01, .weight_decay = 0.1},
          {bug("sgd.weight_decay.without_rate", "decay beside the rate: λ w instead of α λ w",
               [](Tensor& w, const Tensor& g, Memory&) { w.mul_(1 - 0.1).sub_(g, 0.01); }),
           bug("sgd.weight_decay.of_the_size", "the decay of |w| in place of w²/2: a constant pull, as in L1",
               [](Tensor& w, const Tensor& g, Memory&) { w.sub_(g + 0.1 * w.sign(), 0.01); })}),
      sgd("sgd.momentum", {.lr = 0.01, .momentum = 0.9},
          {bug("sgd.momentum.reset", "the velocity is a local variable and begins at zero in every step",
               [](Tensor& w, const Tensor& g, Memory&) { w.sub_(g, 0.01); }),
           bug("sgd.momentum.average", "v ← μ v + (1 − μ) g, as in Adam: a step ten times smaller",
               [](Tensor& w, const Tensor& g, Memory& m) {
                 m.first.mul_(0.9).add_(g, 0.1);
                 w.sub_(m.first, 0.01);
               })}),
      sgd("sgd.dampening", {.lr = 0.01, .momentum = 0.9, .dampening = 0.5},
          {bug("sgd.dampening.in_the_first_step", "the first velocity is the gradient itself, undamped",
               [](Tensor& w, const Tensor& g, Memory& m) {
                 m.first.mul_(0.9).add_(g, 0.5);
                 w.sub_(m.first, 0.01);
               }),
           wrong_options("sgd.dampening.forgotten", "the option is read and not used",
                         SGDOptions{.lr = 0.01, .momentum = 0.9})}),
      sgd("sgd.nesterov", {.lr = 0.01, .momentum = 0.9, .nesterov = true},
          {bug("sgd.nesterov.old_velocity", "the look-ahead is taken with the velocity before its update",
               [](Tensor& w, const Tensor& g, Memory& m) {
                 const Tensor direction = g + 0.9 * m.first;
                 m.first.mul_(0.9).add_(g);
                 w.sub_(direction, 0.01);
               }),
           wrong_options("sgd.nesterov.no_look_ahead", "the step is the velocity alone: plain momentum",
                         SGDOptions{.lr = 0.01, .momentum = 0.9})}),
  };
}

// ---- Adam ----

OptimizerEntry adam(const std::string& name, const AdamOptions& options,
                    const std::vector<OptimizerBug>& bugs) {
  return {.name = name,
          .make = [=] { return std::make_unique<Adam>(options); },
          .reference = [=](const Tensor& parameters) -> std::unique_ptr<torch::optim::Optimizer> {
            const std::vector<Tensor> leaves = {parameters};
            if (options.decoupled) {
              return std::make_unique<torch::optim::AdamW>(leaves, torch::optim::AdamWOptions(options.lr)
                                                                       .weight_decay(options.weight_decay)
                                                                       .amsgrad(options.amsgrad));
            }
            return std::make_unique<torch::optim::Adam>(leaves, torch::optim::AdamOptions(options.lr)
                                                                    .weight_decay(options.weight_decay)
                                                                    .amsgrad(options.amsgrad));
          },
          .bugs = bugs};
}

/// Adam with each of its parts in the caller's hand.
Rule::Function adam_rule(double correction1_on, double correction2_on, bool epsilon_inside_root,
                         bool epsilon_uncorrected) {
  return [=](Tensor& w, const Tensor& g, Memory& m) {
    m.first.mul_(0.9).add_(g, 0.1);
    m.second.mul_(0.999).addcmul_(g, g, 0.001);
    const double correction1 = 1 - correction1_on * std::pow(0.9, m.step);
    const double correction2 = 1 - correction2_on * std::pow(0.999, m.step);
    const double epsilon = 1e-8;
    const Tensor root = epsilon_inside_root   ? (m.second / correction2 + epsilon).sqrt()
                        : epsilon_uncorrected ? (m.second.sqrt() + epsilon) / std::sqrt(correction2)
                                              : (m.second / correction2).sqrt() + epsilon;
    w.sub_(1e-3 * (m.first / correction1) / root);
  };
}

std::vector<OptimizerEntry> adam_entries() {
  return {
      adam("adam", {},
           {bug("adam.no_correction_of_the_mean", "m begins at zero, and its pull back there is forgotten",
                adam_rule(0, 1, false, false)),
            bug("adam.no_correction_of_the_square", "the same for v: the first steps are far too long",
                adam_rule(1, 0, false, false)),
            bug("adam.epsilon_inside_the_root", "√(v̂ + ε) instead of √v̂ + ε: shows in tiny gradients alone",
                adam_rule(1, 1, true, false)),
            bug("adam.epsilon_before_the_correction",
                "ε is added to √v: a published variant, seen in tiny gradients alone",
                adam_rule(1, 1, false, true)),
            bug("adam.square_not_squared", "v takes the gradient where it should take its square",
                [](Tensor& w, const Tensor& g, Memory& m) {
                  m.first.mul_(0.9).add_(g, 0.1);
                  m.second.mul_(0.999).add_(g.abs(), 0.001);
                  w.sub_(1e-3 * (m.first / (1 - std::pow(0.9, m.step))) /
                         ((m.second / (1 - std::pow(0.999, m.step))).sqrt() + 1e-8));
                })}),
      adam("adam.weight_decay", {.weight_decay = 0.1},
           {wrong_options("adam.weight_decay.decoupled",
                          "AdamW's decay in Adam: they differ, and both are called weight decay",
                          AdamOptions{.weight_decay = 0.1, .decoupled = true}),
            bug("adam.weight_decay.after_the_moments",
                "λ w is added to the step and divided by √v̂, but m and v do not see it",
                [](Tensor& w, const Tensor& g, Memory& m) {
                  m.first.mul_(0.9).add_(g, 0.1);
                  m.second.mul_(0.999).addcmul_(g, g, 0.001);
                  const Tensor mean = m.first / (1 - std::pow(0.9, m.step)) + 0.1 * w;
                  w.sub_(1e-3 * mean / ((m.second / (1 - std::pow(0.999, m.step))).sqrt() + 1e-8));
                })}),
      adam("adamw", {.weight_decay = 0.01, .decoupled = true},
           {wrong_options("adamw.coupled", "Adam's decay in AdamW", AdamOptions{.weight_decay = 0.01}),
            wrong_options("adamw.decay_without_rate", "w is multiplied by 1 − λ, not by 1 − α λ",
                          AdamOptions{.weight_decay = 10, .decoupled = true})}),
  };
}

// ---- AMSGrad, RMSprop, Adagrad ----

OptimizerEntry rmsprop(const std::string& name, const RMSpropOptions& options,
                       const std::vector<OptimizerBug>& bugs) {
  return {.name = name,
          .make = [=] { return std::make_unique<RMSprop>(options); },
          .reference =
              [=](const Tensor& parameters) {
                return std::make_unique<torch::optim::RMSprop>(std::vector<Tensor>{parameters},
                                                               torch::optim::RMSpropOptions(options.lr)
                                                                   .alpha(options.alpha)
                                                                   .eps(options.eps)
                                                                   .weight_decay(options.weight_decay)
                                                                   .momentum(options.momentum)
                                                                   .centered(options.centered));
              },
          .bugs = bugs};
}

OptimizerEntry adagrad(const std::string& name, const AdagradOptions& options,
                       const std::vector<OptimizerBug>& bugs) {
  return {.name = name,
          .make = [=] { return std::make_unique<Adagrad>(options); },
          .reference =
              [=](const Tensor& parameters) {
                return std::make_unique<torch::optim::Adagrad>(
                    std::vector<Tensor>{parameters},
                    torch::optim::AdagradOptions(options.lr)
                        .lr_decay(options.lr_decay)
                        .weight_decay(options.weight_decay)
                        .initial_accumulator_value(options.initial_accumulator_value)
                        .eps(options.eps));
              },
          .bugs = bugs};
}

std::vector<OptimizerEntry> adaptive_entries() {
  return {
      adam("adam.amsgrad", {.amsgrad = true},
           {wrong_options("adam.amsgrad.forgets", "the largest v is replaced by the newest", AdamOptions{}),
            bug("adam.amsgrad.corrected_first", "the largest of v̂ in place of the v̂ of the largest v",
                [](Tensor& w, const Tensor& g, Memory& m) {
                  if (m.step == 1) {
                    m.largest = at::zeros_like(w);
                  }
                  m.first.mul_(0.9).add_(g, 0.1);
                  m.second.mul_(0.999).addcmul_(g, g, 0.001);
                  at::maximum_out(m.largest, m.largest, m.second / (1 - std::pow(0.999, m.step)));
                  w.sub_(1e-3 * (m.first / (1 - std::pow(0.9, m.step))) / (m.largest.sqrt() + 1e-8));
                })}),
      adam("adamw.amsgrad", {.weight_decay = 0.01, .decoupled = true, .amsgrad = true},
           {wrong_options("adamw.amsgrad.coupled", "Adam's decay in AdamW",
                          AdamOptions{.weight_decay = 0.01, .amsgrad = true}),
            wrong_options("adamw.amsgrad.forgets", "the largest v is replaced by the newest",
                          AdamOptions{.weight_decay = 0.01, .decoupled = true})}),
      rmsprop("rmsprop", {},
              {bug("rmsprop.epsilon_inside_the_root",
                   "√(v + ε) in place of √v + ε: shows in tiny gradients alone",
                   [](Tensor& w, const Tensor& g, Memory& m) {
                     m.second.mul_(0.99).addcmul_(g, g, 0.01);
                     w.sub_(0.01 * g / (m.second + 1e-8).sqrt());
                   }),
               bug("rmsprop.corrected", "Adam's correction for the zero start, which RMSprop does not have",
                   [](Tensor& w, const Tensor& g, Memory& m) {
                     m.second.mul_(0.99).addcmul_(g, g, 0.01);
                     w.sub_(0.01 * g / ((m.second / (1 - std::pow(0.99, m.step))).sqrt() + 1e-8));
                   })}),
      rmsprop(
          "rmsprop.momentum", {.momentum = 0.9},
          {wrong_options("rmsprop.momentum.forgotten", "the velocity is computed and not used",
                         RMSpropOptions{}),
           bug("rmsprop.momentum.before_the_root", "the velocity gathers g, and is divided by √v afterwards",
               [](Tensor& w, const Tensor& g, Memory& m) {
                 m.second.mul_(0.99).addcmul_(g, g, 0.01);
                 m.first.mul_(0.9).add_(g);
                 w.sub_(0.01 * m.first / (m.second.sqrt() + 1e-8));
               })}),
      rmsprop(
          "rmsprop.centered", {.centered = true},
          {wrong_options("rmsprop.centered.mean_forgotten", "v in place of v − m²", RMSpropOptions{}),
           bug("rmsprop.centered.mean_not_squared", "v − m: a variance is the mean square less the square",
               [](Tensor& w, const Tensor& g, Memory& m) {
                 m.second.mul_(0.99).addcmul_(g, g, 0.01);
                 m.first.mul_(0.99).add_(g, 0.01);
                 w.sub_(0.01 * g / ((m.second - m.first).abs().sqrt() + 1e-8));
               })}),
      rmsprop(
          "rmsprop.weight_decay", {.weight_decay = 0.1},
          {bug("rmsprop.weight_decay.after_the_square", "the decay is added after v has taken the gradient",
               [](Tensor& w, const Tensor& g, Memory& m) {
                 m.second.mul_(0.99).addcmul_(g, g, 0.01);
                 w.sub_(0.01 * (g + 0.1 * w) / (m.second.sqrt() + 1e-8));
               }),
           wrong_options("rmsprop.weight_decay.forgotten", "the decay is an option that nothing reads",
                         RMSpropOptions{})}),
      adagrad("adagrad", {},
              {bug("adagrad.forgets", "a running mean in place of the sum: RMSprop",
                   [](Tensor& w, const Tensor& g, Memory& m) {
                     m.second.mul_(0.99).addcmul_(g, g, 0.01);
                     w.sub_(0.01 * g / (m.second.sqrt() + 1e-10));
                   }),
               bug("adagrad.root_forgotten", "the step is divided by the sum of squares, not by its root",
                   [](Tensor& w, const Tensor& g, Memory& m) {
                     m.second.addcmul_(g, g);
                     w.sub_(0.01 * g / (m.second + 1e-10));
                   })}),
      adagrad("adagrad.rate_decay", {.lr_decay = 0.01},
              {wrong_options("adagrad.rate_decay.forgotten", "the decay is an option that nothing reads",
                             AdagradOptions{}),
               bug("adagrad.rate_decay.from_one",
                   "α / (1 + t decay) counts t from 0; from 1 the first step is too short",
                   [](Tensor& w, const Tensor& g, Memory& m) {
                     m.second.addcmul_(g, g);
                     w.sub_(0.01 / (1 + 0.01 * m.step) * g / (m.second.sqrt() + 1e-10));
                   })}),
      adagrad("adagrad.weight_decay", {.weight_decay = 0.1, .initial_accumulator_value = 0.5},
              {wrong_options("adagrad.weight_decay.start_at_zero",
                             "the sum begins at 0, whatever the option says",
                             AdagradOptions{.weight_decay = 0.1}),
               wrong_options("adagrad.weight_decay.forgotten", "the decay is an option that nothing reads",
                             AdagradOptions{.initial_accumulator_value = 0.5})}),
  };
}

}  // namespace

std::vector<OptimizerEntry> optimizer_entries() {
  std::vector<OptimizerEntry> entries = sgd_entries();
  for (OptimizerEntry& entry : adam_entries()) {
    entries.push_back(std::move(entry));
  }
  for (OptimizerEntry& entry : adaptive_entries()) {
    entries.push_back(std::move(entry));
  }
  return entries;
}

Walk walk_together(Optimizer& by_hand, const OptimizerEntry& entry, const at::TensorOptions& options) {
  constexpr int kSteps = 1000;
  constexpr std::int64_t kParameters = 60;
  // What float32 rounds away of the start and of a gradient is not the rule's error.
  const auto drawn = [&](const Tensor& scale) {
    return (draw({kParameters}) * scale).to(options).to(options.dtype(at::kDouble));
  };
  const Tensor sizes = at::logspace(-9, 1, kParameters, 10, at::kDouble);
  Tensor expected = drawn(at::ones({kParameters}, at::kDouble)).set_requires_grad(true);
  const auto reference = entry.reference(expected);
  Tensor parameters = expected.detach().to(options, false, /*copy=*/true);
  Walk walk;
  for (int step = 0; step < kSteps; ++step) {
    const Tensor gradient = drawn(sizes);
    expected.mutable_grad() = gradient.clone();
    reference->step();
    by_hand.step(parameters, gradient.to(options));
    const Tensor scale = expected.detach().abs().clamp_min(1);
    const Tensor distance = (parameters.to(at::kDouble) - expected.detach()).abs();
    const auto largest = [](const Tensor& values) {
      const double value = values.max().item<double>();
      return std::isfinite(value) ? value : std::numeric_limits<double>::infinity();
    };
    walk.max_abs_difference = std::max(walk.max_abs_difference, largest(distance));
    walk.max_rel_difference = std::max(walk.max_rel_difference, largest(distance / scale));
    if (parameters.scalar_type() != at::kDouble) {
      parameters.copy_(expected.detach());
    }
  }
  return walk;
}

}  // namespace twingrad::catalogue
