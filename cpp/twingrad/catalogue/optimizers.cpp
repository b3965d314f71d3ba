#include "twingrad/catalogue/optimizers.h"

#include <torch/optim/adagrad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

#include <cmath>
#include <limits>

#include "twingrad/catalogue/entry.h"
#include "twingrad/optim/adagrad.h"
#include "twingrad/optim/adam.h"
#include "twingrad/optim/rmsprop.h"
#include "twingrad/optim/sgd.h"

namespace twingrad::catalogue {
namespace {

/// The memory of a wrong rule.
struct Memory {
  int step = 0;
  Tensor first, second;
};

/// An optimizer that is one function: how the bugs are written.
class Rule final : public Optimizer {
 public:
  using Function = std::function<void(Tensor& w, const Tensor& g, Memory& memory)>;
  explicit Rule(Function function) : function_(std::move(function)) {}

  void step(Tensor& parameters, const Tensor& gradients) override {
    if (memory_.step++ == 0) {
      memory_.first = at::zeros_like(parameters);
      memory_.second = at::zeros_like(parameters);
    }
    function_(parameters, gradients, memory_);
  }

  void set_learning_rate(double /*learning_rate*/) override {}

 private:
  Function function_;
  Memory memory_;
};

OptimizerBug bug(const std::string& name, const std::string& why, const Rule::Function& rule) {
  return {name, why, [rule] { return std::make_unique<Rule>(rule); }};
}

// ---- SGD
// -----------------------------------------------------------------------------------------------------------

OptimizerEntry sgd(const std::string& name, const SGD::Options& options,
                   const std::vector<OptimizerBug>& bugs) {
  return {.name = name,
          .make = [=] { return std::make_unique<SGD>(options); },
          .reference =
              [=](const Tensor& parameters) {
                return std::make_unique<torch::optim::SGD>(std::vector<Tensor>{parameters},
                                                           torch::optim::SGDOptions(options.learning_rate)
                                                               .momentum(options.momentum)
                                                               .dampening(options.dampening)
                                                               .weight_decay(options.weight_decay)
                                                               .nesterov(options.nesterov));
              },
          .bugs = bugs};
}

std::vector<OptimizerEntry> sgd_entries() {
  return {
      sgd("sgd", {.learning_rate = 0.01},
          {bug("sgd.ascent", "the sign is lost between the gradient and the step",
               [](Tensor& w, const Tensor& g, Memory&) { w.add_(g, 0.01); })}),
      sgd("sgd.weight_decay", {.learning_rate = 0.01, .weight_decay = 0.1},
          {bug("sgd.weight_decay.without_rate", "decay beside the rate: λ w instead of α λ w",
               [](Tensor& w, const Tensor& g, Memory&) { w.mul_(1 - 0.1).sub_(g, 0.01); })}),
      sgd("sgd.momentum", {.learning_rate = 0.01, .momentum = 0.9},
          {bug("sgd.momentum.reset", "the velocity is a local variable and begins at zero in every step",
               [](Tensor& w, const Tensor& g, Memory&) { w.sub_(g, 0.01); }),
           bug("sgd.momentum.average", "v ← μ v + (1 − μ) g, as in Adam: a step ten times smaller",
               [](Tensor& w, const Tensor& g, Memory& m) {
                 m.first.mul_(0.9).add_(g, 0.1);
                 w.sub_(m.first, 0.01);
               })}),
      sgd("sgd.dampening", {.learning_rate = 0.01, .momentum = 0.9, .dampening = 0.5},
          {bug("sgd.dampening.in_the_first_step", "the first velocity is the gradient itself, undamped",
               [](Tensor& w, const Tensor& g, Memory& m) {
                 m.first.mul_(0.9).add_(g, 0.5);
                 w.sub_(m.first, 0.01);
               })}),
      sgd("sgd.nesterov", {.learning_rate = 0.01, .momentum = 0.9, .nesterov = true},
          {bug("sgd.nesterov.old_velocity", "the look-ahead is taken with the velocity before its update",
               [](Tensor& w, const Tensor& g, Memory& m) {
                 const Tensor direction = g + 0.9 * m.first;
                 m.first.mul_(0.9).add_(g);
                 w.sub_(direction, 0.01);
               })}),
  };
}

// ---- Adam
// ----------------------------------------------------------------------------------------------------------

OptimizerEntry adam(const std::string& name, const Adam::Options& options,
                    const std::vector<OptimizerBug>& bugs) {
  return {.name = name,
          .make = [=] { return std::make_unique<Adam>(options); },
          .reference = [=](const Tensor& parameters) -> std::unique_ptr<torch::optim::Optimizer> {
            const std::vector<Tensor> leaves = {parameters};
            if (options.decoupled) {
              return std::make_unique<torch::optim::AdamW>(leaves,
                                                           torch::optim::AdamWOptions(options.learning_rate)
                                                               .weight_decay(options.weight_decay)
                                                               .amsgrad(options.amsgrad));
            }
            return std::make_unique<torch::optim::Adam>(leaves,
                                                        torch::optim::AdamOptions(options.learning_rate)
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
           {{"adam.weight_decay.decoupled",
             "AdamW's decay in Adam: they differ, and both are called weight decay",
             [] { return std::make_unique<Adam>(Adam::Options{.weight_decay = 0.1, .decoupled = true}); }}}),
      adam("adamw", {.weight_decay = 0.01, .decoupled = true},
           {{"adamw.coupled", "Adam's decay in AdamW",
             [] { return std::make_unique<Adam>(Adam::Options{.weight_decay = 0.01}); }},
            {"adamw.decay_without_rate", "w is multiplied by 1 − λ, not by 1 − α λ",
             [] { return std::make_unique<Adam>(Adam::Options{.weight_decay = 10, .decoupled = true}); }}}),
  };
}

// ---- AMSGrad, RMSprop, Adagrad -------------------------------------------------------------------------------------

OptimizerEntry rmsprop(const std::string& name, const RMSprop::Options& options,
                       const std::vector<OptimizerBug>& bugs) {
  return {.name = name,
          .make = [=] { return std::make_unique<RMSprop>(options); },
          .reference =
              [=](const Tensor& parameters) {
                return std::make_unique<torch::optim::RMSprop>(
                    std::vector<Tensor>{parameters}, torch::optim::RMSpropOptions(options.learning_rate)
                                                         .alpha(options.alpha)
                                                         .eps(options.epsilon)
                                                         .weight_decay(options.weight_decay)
                                                         .momentum(options.momentum)
                                                         .centered(options.centered));
              },
          .bugs = bugs};
}

OptimizerEntry adagrad(const std::string& name, const Adagrad::Options& options,
                       const std::vector<OptimizerBug>& bugs) {
  return {.name = name,
          .make = [=] { return std::make_unique<Adagrad>(options); },
          .reference =
              [=](const Tensor& parameters) {
                return std::make_unique<torch::optim::Adagrad>(
                    std::vector<Tensor>{parameters},
                    torch::optim::AdagradOptions(options.learning_rate)
                        .lr_decay(options.learning_rate_decay)
                        .weight_decay(options.weight_decay)
                        .initial_accumulator_value(options.initial_accumulator_value)
                        .eps(options.epsilon));
              },
          .bugs = bugs};
}

std::vector<OptimizerEntry> adaptive_entries() {
  const auto wrong_options = [](const std::string& name, const std::string& why, auto options, auto make) {
    return OptimizerBug{name, why, [=] { return make(options); }};
  };
  const auto make_rmsprop = [](const RMSprop::Options& options) {
    return std::make_unique<RMSprop>(options);
  };
  const auto make_adagrad = [](const Adagrad::Options& options) {
    return std::make_unique<Adagrad>(options);
  };
  return {
      adam("adam.amsgrad", {.amsgrad = true},
           {{"adam.amsgrad.forgets", "the largest v is replaced by the newest",
             [] { return std::make_unique<Adam>(Adam::Options{}); }}}),
      adam("adamw.amsgrad", {.weight_decay = 0.01, .decoupled = true, .amsgrad = true},
           {{"adamw.amsgrad.coupled", "Adam's decay in AdamW",
             [] { return std::make_unique<Adam>(Adam::Options{.weight_decay = 0.01, .amsgrad = true}); }}}),
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
      rmsprop("rmsprop.momentum", {.momentum = 0.9},
              {wrong_options("rmsprop.momentum.forgotten", "the velocity is computed and not used",
                             RMSprop::Options{}, make_rmsprop)}),
      rmsprop("rmsprop.centered", {.centered = true},
              {wrong_options("rmsprop.centered.mean_forgotten", "v in place of v − m²", RMSprop::Options{},
                             make_rmsprop)}),
      rmsprop("rmsprop.weight_decay", {.weight_decay = 0.1},
              {wrong_options("rmsprop.weight_decay.forgotten",
                             "the decay is added after v has taken the gradient", RMSprop::Options{},
                             make_rmsprop)}),
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
      adagrad(
          "adagrad.rate_decay", {.learning_rate_decay = 0.01},
          {wrong_options("adagrad.rate_decay.forgotten", "the rate's decay is an option that nothing reads",
                         Adagrad::Options{}, make_adagrad)}),
      adagrad("adagrad.weight_decay", {.weight_decay = 0.1, .initial_accumulator_value = 0.5},
              {wrong_options("adagrad.weight_decay.start_at_zero",
                             "the sum begins at 0, whatever the option says",
                             Adagrad::Options{.weight_decay = 0.1}, make_adagrad)}),
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

Walk walk_together(Optimizer& by_hand, torch::optim::Optimizer& reference, Tensor& reference_parameters) {
  constexpr int kSteps = 1000;
  const Tensor sizes = at::logspace(-9, 1, reference_parameters.numel(), 10, at::kDouble);
  Tensor parameters = reference_parameters.detach().clone();
  Walk walk;
  for (int step = 0; step < kSteps; ++step) {
    const Tensor gradient = draw(sizes.sizes()) * sizes;
    reference_parameters.mutable_grad() = gradient.clone();
    reference.step();
    by_hand.step(parameters, gradient);
    const Tensor expected = reference_parameters.detach();
    const Tensor distance = (parameters - expected).abs();
    const auto largest = [](const Tensor& values) {
      const double value = values.max().item<double>();
      return std::isfinite(value) ? value : std::numeric_limits<double>::infinity();
    };
    walk.max_abs_difference = std::max(walk.max_abs_difference, largest(distance));
    walk.max_rel_difference =
        std::max(walk.max_rel_difference, largest(distance / expected.abs().clamp_min(1)));
  }
  return walk;
}

}  // namespace twingrad::catalogue
