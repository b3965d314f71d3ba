#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "../support/random_cases.h"
#include "every_combination.h"
#include "twingrad/compare/difference.h"
#include "twingrad/mlp/torch_reference_optimizer.h"
#include "twingrad/mlp/twin.h"
#include "twingrad/optim/make_optimizer.h"
#include "twingrad/runtime/fields.h"

// Optimizers and schedules together, as a run uses them.

namespace twingrad {
namespace {

using at::Tensor;
using testing::for_random_cases;
using testing::RandomCase;

// ---- Rates of the schedules, in the forms of Python's torch.optim.lr_scheduler ----

/// The recurrences of the schedulers' step().
std::vector<double> recurrent_rates(const ScheduleOptions& s, double base, std::int64_t steps_per_epoch,
                                    std::int64_t total) {
  std::vector<double> rates = {base};
  for (std::int64_t t = 1; t < total; ++t) {
    double rate = rates.back();
    if (s.kind == ScheduleOptions::Kind::step && t % (steps_per_epoch * s.step_epochs) == 0) {
      rate *= s.gamma;
    } else if (s.kind == ScheduleOptions::Kind::cosine) {
      const auto wave = [&](std::int64_t at) {
        return 1 + std::cos(std::numbers::pi * static_cast<double>(at) / static_cast<double>(total));
      };
      rate = wave(t) / wave(t - 1) * (rate - s.eta_min) + s.eta_min;
    }
    rates.push_back(rate);
  }
  return rates;
}

/// OneCycleLR's list of phases.
std::vector<double> one_cycle_rates(const ScheduleOptions& s, double base, std::int64_t total) {
  struct Phase {
    double end, from, to;
  };
  const double start = base / s.div_factor;
  const double low = start / s.final_div_factor;
  const auto count = static_cast<double>(total);
  const std::vector<Phase> phases =
      s.three_phase ? std::vector<Phase>{{s.pct_start * count - 1, start, base},
                                         {2 * s.pct_start * count - 2, base, start},
                                         {count - 1, start, low}}
                    : std::vector<Phase>{{s.pct_start * count - 1, start, base}, {count - 1, base, low}};
  std::vector<double> rates;
  for (std::int64_t t = 0; t < total; ++t) {
    double begin = 0;
    for (const Phase& phase : phases) {
      const auto now = static_cast<double>(t);
      if (now <= phase.end || phase.end == count - 1) {
        const double share = (now - begin) / (phase.end - begin);
        const double fall = s.anneal == optim::OneCycleLR::Anneal::linear
                                ? 1 - share
                                : (1 + std::cos(std::numbers::pi * share)) / 2;
        rates.push_back(phase.to + (phase.from - phase.to) * fall);
        break;
      }
      begin = phase.end;
    }
  }
  return rates;
}

/// LinearLR's recurrence for the factor.
std::vector<double> warm_up_factors(const ScheduleOptions& s, std::int64_t total) {
  std::vector<double> factors(static_cast<std::size_t>(total), 1);
  const double rise = s.warm_up_end - s.warm_up_start;
  for (std::int64_t t = 0; s.warm_up > 0 && t < total; ++t) {
    double& factor = factors[static_cast<std::size_t>(t)];
    if (t == 0) {
      factor = s.warm_up_start;
      continue;
    }
    factor = factors[static_cast<std::size_t>(t - 1)];
    if (t <= s.warm_up) {
      factor *=
          1 + rise / (static_cast<double>(s.warm_up) * s.warm_up_start + static_cast<double>(t - 1) * rise);
    }
  }
  return factors;
}

std::vector<double> expected_rates(const ScheduleOptions& schedule, double base, std::int64_t steps_per_epoch,
                                   std::int64_t total) {
  std::vector<double> rates = schedule.kind == ScheduleOptions::Kind::one_cycle
                                  ? one_cycle_rates(schedule, base, total)
                                  : recurrent_rates(schedule, base, steps_per_epoch, total);
  const std::vector<double> factors = warm_up_factors(schedule, total);
  for (std::size_t t = 0; t < rates.size(); ++t) {
    rates[t] *= factors[t];
  }
  return rates;
}

constexpr std::int64_t kStepsPerEpoch = 4;
constexpr std::int64_t kTotal = 24;

ScheduleOptions random_schedule(RandomCase& random) {
  using Kind = ScheduleOptions::Kind;
  ScheduleOptions s;
  s.kind = random.one_of({Kind::constant, Kind::step, Kind::cosine, Kind::one_cycle});
  s.step_epochs = random.integer(1, 3);
  s.gamma = random.one_of({0.0, 0.5, 1.0});
  s.eta_min = random.one_of({0.0, 0.002});
  // 0.25: each phase ends exactly at a step; 0: no rising phase; 1: no falling phase.
  s.pct_start = random.one_of({0.0, 0.25, 0.3, 0.5, 0.7, 1.0});
  s.div_factor = random.one_of({1.0, 25.0});
  s.final_div_factor = random.one_of({1.0, 1e4});
  s.anneal = random.one_of({optim::OneCycleLR::Anneal::cosine, optim::OneCycleLR::Anneal::linear});
  s.three_phase = random.chance() && s.pct_start > 0;
  s.warm_up = random.one_of<std::int64_t>({0, 1, 7, kTotal - 1, kTotal, 40});
  s.warm_up_start = random.one_of({0.1, 1.0});
  s.warm_up_end = random.one_of({0.0, 0.8, 1.0});
  return s;
}

TEST(Schedule, ARunFollowsPythonsSchedulersWithEveryOptionAndWarmUp) {
  for_random_cases(300, [](RandomCase& random) {
    const ScheduleOptions schedule = random_schedule(random);
    SCOPED_TRACE(heading_of_fields(schedule_fields(), schedule));
    const std::vector<double> expected = expected_rates(schedule, 0.2, kStepsPerEpoch, kTotal);
    for (std::int64_t t = 0; t < kTotal; ++t) {
      // A recurrence rounds once or twice per step.
      EXPECT_NEAR(learning_rate_at(schedule, 0.2, t, kStepsPerEpoch, kTotal),
                  expected[static_cast<std::size_t>(t)], 1e-15 * kTotal)
          << "step " << t;
    }
  });
}

// ---- Optimizers beside torch::optim ----

/// Gradients from 1e-9, where a misplaced epsilon becomes visible, to 10; as a sum of up to three parts.
std::vector<Tensor> random_gradient_parts(RandomCase& random, std::int64_t parameters) {
  std::vector<Tensor> parts;
  for (std::int64_t part = random.integer(1, 3); part > 0; --part) {
    parts.push_back(at::randn({parameters}, at::kDouble) * at::logspace(-9, 1, parameters, 10, at::kDouble));
  }
  return parts;
}

/// A new optimizer that continues from the state of another.
std::unique_ptr<optim::Optimizer> continued(const OptimizerOptions& options, optim::Optimizer& from,
                                            double lr) {
  std::unique_ptr<optim::Optimizer> next = optim::make_optimizer(options);
  const auto state = from.state();
  for (std::size_t i = 0; i < state.size(); ++i) {
    EXPECT_STREQ(next->state()[i].name, state[i].name);
    *next->state()[i].value = state[i].value->defined() ? state[i].value->clone() : Tensor();
  }
  next->set_steps(from.steps());
  next->set_lr(lr);
  return next;
}

void expect_equal_walks(const OptimizerOptions& options, RandomCase& random) {
  constexpr std::int64_t kParameters = 11;
  at::manual_seed(random.seed());
  const std::vector<double> rates = expected_rates(random_schedule(random), 0.02, kStepsPerEpoch, kTotal);
  const Tensor expected = at::randn({kParameters}, at::kDouble).set_requires_grad(true);
  Tensor parameters = expected.detach().clone();
  torch_reference::Optimizer theirs(options, {expected});
  std::unique_ptr<optim::Optimizer> ours = optim::make_optimizer(options);
  const std::int64_t interruption = random.integer(0, kTotal - 1);
  for (std::int64_t t = 0; t < kTotal; ++t) {
    const double lr = rates[static_cast<std::size_t>(t)];
    if (t > 0 || random.chance()) {  // otherwise the first step takes the rate of the options
      ours->set_lr(lr);
      theirs.set_lr(lr);
    }
    if (t == interruption) {
      ours = continued(options, *ours, lr);
      theirs.set_lr(lr);
    }
    const std::vector<Tensor> parts = random_gradient_parts(random, kParameters);
    expected.mutable_grad() = at::stack(parts).sum(0);
    theirs.step();
    ours->step(parameters, parts);
    // RMSprop divides by numbers near 0 and so amplifies rounding, the more so with weight decay.
    ASSERT_LE(difference(expected.detach(), parameters).relative, 1e-10) << "step " << t;
  }
  const std::vector<NamedTensor> state = theirs.state({"w"});
  for (const auto& [name, value] : ours->state()) {
    const Tensor reference = find_tensor(state, std::string("w.") + name, {kParameters});
    EXPECT_LE(difference(reference, *value).relative, 1e-10) << name;
  }
}

TEST(Optimizers, FollowTorchOptimWithEveryCombinationOfTheirOptions) {
  for_random_cases(2, [](RandomCase& random) {
    for (const OptimizerOptions& options : testing::every_combination()) {
      SCOPED_TRACE(heading_of_fields(optimizer_fields(), options));
      expect_equal_walks(options, random);
    }
  });
}

/// The parameters after three steps with fixed gradients.
Tensor three_steps(const OptimizerOptions& options) {
  Tensor parameters = at::ones({3}, at::kDouble);
  const auto optimizer = optim::make_optimizer(options);
  for (const double size : {1.0, -0.5, 0.01}) {
    optimizer->step(parameters, at::tensor({1.0, 0.1, -3.0}, at::kDouble) * size);
  }
  return parameters;
}

TEST(Optimizers, EveryOptionChangesTheSteps) {
  for (const auto& [name, kind] : optimizer_kinds()) {
    OptimizerOptions plain = default_options(kind);
    plain.momentum = 0.5;
    plain.beta2 = 0.5;  // with AMSGrad's maximum, the running mean of squares has to fall
    for (const testing::OptionChange& change : testing::option_changes(kind)) {
      OptimizerOptions changed = plain;
      change(changed);
      const bool has_changed = difference(three_steps(plain), three_steps(changed)).relative > 1e-6;
      EXPECT_TRUE(has_changed) << name << heading_of_fields(optimizer_fields(), changed);
    }
  }
}

}  // namespace
}  // namespace twingrad
