#include "twingrad/catalogue/schedules.h"

#include <torch/nn/utils/clip_grad.h>
#include <torch/optim/schedulers/step_lr.h>
#include <torch/optim/sgd.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "twingrad/catalogue/cases.h"
#include "twingrad/catalogue/schedule_tables.h"
#include "twingrad/optim/clip_by_norm.h"
#include "twingrad/optim/schedule.h"

namespace twingrad::catalogue {
namespace {

constexpr double kBase = 0.1;  // as in the tables
using Rate = std::function<double(std::int64_t t)>;

std::function<Tensors(const at::TensorOptions&)> rates(std::int64_t steps, const Rate& rate) {
  return [=](const at::TensorOptions& /*options*/) {
    std::vector<double> values;
    for (std::int64_t t = 0; t < steps; ++t) {
      values.push_back(rate(t));
    }
    return Tensors{at::tensor(values, at::kDouble)};
  };
}

Rate rate_of(const auto& schedule) {
  return [=](std::int64_t t) { return schedule.rate(kBase, t); };
}

struct WrongRate {
  std::string mistake, why;
  Rate rate;
};

ValuesEntry schedule(const std::string& name, const std::string& oracle, const Tensor& table,
                     const Rate& rate, const std::vector<WrongRate>& mistakes) {
  const std::int64_t steps = table.numel();
  ValuesEntry entry = {.name = name,
                       .oracle = oracle,
                       .values = rates(steps, rate),
                       .reference = [=] { return Tensors{table}; },
                       .bugs = {}};
  for (const WrongRate& wrong : mistakes) {
    entry.bugs.push_back({name + "." + wrong.mistake, wrong.why, rates(steps, wrong.rate)});
  }
  return entry;
}

template <std::size_t steps>
Tensor recorded(const std::array<double, steps>& table) {
  return at::tensor(at::ArrayRef<double>(table.data(), steps), at::kDouble);
}

Tensor rates_of_step_lr(unsigned step_size, double gamma, int steps) {
  const Tensor parameter = at::zeros({1}).requires_grad_(true);
  torch::optim::SGD optimizer(std::vector<Tensor>{parameter}, torch::optim::SGDOptions(kBase));
  torch::optim::StepLR scheduler(optimizer, step_size, gamma);
  std::vector<double> values;
  for (int t = 0; t < steps; ++t) {
    scheduler.step();  // before an update, where Python's comes after it: the first call changes nothing
    values.push_back(optimizer.param_groups()[0].options().get_lr());
  }
  return at::tensor(values, at::kDouble);
}

ValuesEntry step_decay() {
  const StepLR right = {.step_size = 4, .gamma = 0.5};
  return schedule("schedule.step", "torch::optim", rates_of_step_lr(4, 0.5, 20), rate_of(right),
                  {{"one_step_early", "t counts from 1 here and from 0 there",
                    [=](std::int64_t t) { return right.rate(kBase, t + 1); }},
                   {"no_staircase", "t / step_size in floating point: γ takes effect in every step",
                    [](std::int64_t t) { return kBase * std::pow(0.5, static_cast<double>(t) / 4); }}});
}

ValuesEntry cosine() {
  const CosineAnnealingLR right = {.t_max = 10, .eta_min = 0.01};
  return schedule(
      "schedule.cosine", "Python", recorded(python::kCosine), rate_of(right),
      {{"whole_period", "2π in place of π: the rate is back at its start after t_max",
        rate_of(CosineAnnealingLR{.t_max = 5, .eta_min = 0.01})},
       {"minimum_added", "η_min is added, but the amplitude is not lessened by it", [](std::int64_t t) {
          return 0.01 + kBase * (1 + std::cos(std::numbers::pi * static_cast<double>(t) / 10)) / 2;
        }}});
}

ValuesEntry warm_up() {
  const LinearLR right = {.start_factor = 0.1, .end_factor = 0.8, .total_steps = 7};
  return schedule("schedule.warm_up", "Python", recorded(python::kWarmUp), rate_of(right),
                  {{"from_zero", "t / total, as the paper draws it: the first step is lost, its rate is 0",
                    [](std::int64_t t) { return kBase * 0.8 * std::min(1.0, static_cast<double>(t) / 7); }},
                   {"never_level", "nothing stops the line at the end of the warm-up", [](std::int64_t t) {
                      return kBase * (0.1 + (0.8 - 0.1) * static_cast<double>(t) / 7);
                    }}});
}

std::vector<ValuesEntry> one_cycles() {
  const OneCycleLR cosine = {.total_steps = 24};
  const OneCycleLR linear = {.total_steps = 24,
                             .pct_start = 0.25,
                             .anneal = OneCycleLR::Anneal::linear,
                             .div_factor = 10,
                             .final_div_factor = 100};
  const OneCycleLR three_phase = {.total_steps = 24, .three_phase = true};
  const auto changed = [](OneCycleLR schedule, const auto& change) {
    change(schedule);
    return rate_of(schedule);
  };
  return {
      schedule("schedule.one_cycle", "Python", recorded(python::kOneCycle), rate_of(cosine),
               {{"final_of_the_top", "the last rate is base / final_div_factor: the initial one is meant",
                 changed(cosine, [](OneCycleLR& s) { s.final_div_factor /= s.div_factor; })},
                {"one_step_more", "the last step is counted as total, not total − 1: the end is not reached",
                 changed(cosine, [](OneCycleLR& s) { ++s.total_steps; })}}),
      schedule("schedule.one_cycle.linear", "Python", recorded(python::kOneCycleLinear), rate_of(linear),
               {{"cosine", "the way of annealing is an option that nothing reads",
                 changed(linear, [](OneCycleLR& s) { s.anneal = OneCycleLR::Anneal::cosine; })},
                {"from_the_top", "it begins at the largest rate: div_factor is not applied to the start",
                 [=](std::int64_t t) {
                   return t < 5 ? kBase : linear.rate(kBase, t);  // 5 = pct_start · total − 1
                 }}}),
      schedule("schedule.one_cycle.three_phase", "Python", recorded(python::kOneCycleThreePhase),
               rate_of(three_phase),
               {{"two_phases", "the third phase is an option that nothing reads",
                 changed(three_phase, [](OneCycleLR& s) { s.three_phase = false; })},
                {"final_of_the_top", "the last rate is base / final_div_factor: the initial one is meant",
                 changed(three_phase, [](OneCycleLR& s) { s.final_div_factor /= s.div_factor; })}})};
}

// ---- Clipping ----

/// Gradients that float32 holds exactly: far shorter than the largest norm, as long, far longer.
Tensors gradients() {
  Tensors all;
  for (const double size : {1e-6, 1e-3, 0.1, 1., 100.}) {
    all.push_back(draw({6}, size).to(at::kFloat).to(at::kDouble));
  }
  return all;
}

/// Clips them with max_norm 1, the shortest with 1e-7: there the 1e-6 in the denominator tells.
using Clip = std::function<double(Tensor& gradient, double max_norm)>;

Tensors clip_each(const Tensors& gradients, const at::TensorOptions& options, const Clip& clip) {
  Tensors results;
  std::vector<double> norms;
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    Tensor gradient = gradients[i].to(options, false, /*copy=*/true);
    norms.push_back(clip(gradient, i == 0 ? 1e-7 : 1));
    results.push_back(gradient);
  }
  results.push_back(at::tensor(norms, at::kDouble));
  return results;
}

ValuesEntry clipping(const std::string& name, double norm_type) {
  const Tensors all = gradients();
  const auto norm_of = [=](const Tensor& g) { return g.norm(norm_type).item<double>(); };
  const auto values = [=](const Clip& clip) {
    return [=](const at::TensorOptions& options) { return clip_each(all, options, clip); };
  };
  return {
      .name = name,
      .oracle = "torch::nn::utils",
      .values = values([=](Tensor& g, double max_norm) { return clip_by_norm(g, max_norm, norm_type); }),
      .reference =
          [=] {
            // A network's gradients are several tensors, and their norm is that of all.
            return clip_each(all, at::kDouble, [=](Tensor& g, double max_norm) {
              Tensors parameters;
              for (const Tensor& part : g.split(4)) {
                parameters.push_back(at::zeros_like(part).set_requires_grad(true));
                parameters.back().mutable_grad() = part;
              }
              return torch::nn::utils::clip_grad_norm_(parameters, max_norm, norm_type);
            });
          },
      .has_float32 = true,
      .bugs = {{name + ".each_by_itself", "every tensor is clipped by its own norm: the direction changes",
                values([=](Tensor& g, double max_norm) {
                  const double norm = norm_of(g);
                  for (Tensor part : g.split(4)) {
                    clip_by_norm(part, max_norm, norm_type);
                  }
                  return norm;
                })},
               {name + ".short_ones_too", "without the min(1, …) a short gradient is made longer",
                values([=](Tensor& g, double max_norm) {
                  const double norm = norm_of(g);
                  g.mul_(max_norm / (norm + 1e-6));
                  return norm;
                })},
               {name + ".epsilon_forgotten", "max_norm / |g|: shows in tiny gradients alone",
                values([=](Tensor& g, double max_norm) {
                  const double norm = norm_of(g);
                  g.mul_(std::min(1.0, max_norm / norm));
                  return norm;
                })},
               {name + ".norm_after", "the norm is reported from after the clipping",
                values([=](Tensor& g, double max_norm) {
                  clip_by_norm(g, max_norm, norm_type);
                  return norm_of(g);
                })}}};
}

}  // namespace

std::vector<ValuesEntry> schedule_entries() {
  std::vector<ValuesEntry> entries = {step_decay(), cosine(), warm_up()};
  for (ValuesEntry& entry : one_cycles()) {
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::vector<ValuesEntry> clipping_entries() {
  restart_draws();
  return {clipping("clip_by_norm", 2),
          clipping("clip_by_norm.largest", std::numeric_limits<double>::infinity())};
}

}  // namespace twingrad::catalogue
