#include "twingrad/catalogue/schedules.h"

#include <array>
#include <cmath>
#include <numbers>

#include "twingrad/catalogue/cases.h"
#include "twingrad/catalogue/schedule_tables.h"
#include "twingrad/mlp/torch_reference_optimizer.h"
#include "twingrad/optim/clip_by_norm.h"
#include "twingrad/optim/schedule.h"

namespace twingrad::catalogue {
namespace {

using optim::CosineAnnealingLR;
using optim::LinearLR;
using optim::OneCycleLR;
using optim::StepLR;

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

ValuesEntry step_decay() {
  const StepLR right = {.step_size = 4, .gamma = 0.5};
  return schedule("schedule.step", "torch::optim",
                  at::tensor(torch_reference::step_lr(kBase, 4, 0.5, 20), at::kDouble), rate_of(right),
                  {{"one_step_early", "t is counted from 1 instead of 0",
                    [=](std::int64_t t) { return right.rate(kBase, t + 1); }},
                   {"no_staircase", "t / step_size is not rounded down, so every step applies a bit of γ",
                    [](std::int64_t t) { return kBase * std::pow(0.5, static_cast<double>(t) / 4); }}});
}

ValuesEntry cosine() {
  const CosineAnnealingLR right = {.t_max = 10, .eta_min = 0.01};
  return schedule(
      "schedule.cosine", "Python", recorded(python::kCosine), rate_of(right),
      {{"whole_period", "2π instead of π: after t_max the rate is back at its start",
        rate_of(CosineAnnealingLR{.t_max = 5, .eta_min = 0.01})},
       {"minimum_added", "η_min is added, but the amplitude is not reduced by it", [](std::int64_t t) {
          return 0.01 + kBase * (1 + std::cos(std::numbers::pi * static_cast<double>(t) / 10)) / 2;
        }}});
}

ValuesEntry warm_up() {
  const LinearLR right = {.start_factor = 0.1, .end_factor = 0.8, .total_steps = 7};
  return schedule("schedule.warm_up", "Python", recorded(python::kWarmUp), rate_of(right),
                  {{"from_zero", "t / total: the rate of the first step is 0",
                    [](std::int64_t t) { return kBase * 0.8 * std::min(1.0, static_cast<double>(t) / 7); }},
                   {"never_constant", "the rate keeps rising after the warm-up", [](std::int64_t t) {
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
  return {schedule("schedule.one_cycle", "Python", recorded(python::kOneCycle), rate_of(cosine),
                   {{"final_from_maximum",
                     "the last rate is base / final_div_factor, not the initial rate / final_div_factor",
                     changed(cosine, [](OneCycleLR& s) { s.final_div_factor /= s.div_factor; })},
                    {"one_step_too_long",
                     "the last step is total, not total − 1, so the final rate is not reached",
                     changed(cosine, [](OneCycleLR& s) { ++s.total_steps; })}}),
          schedule("schedule.one_cycle.linear", "Python", recorded(python::kOneCycleLinear), rate_of(linear),
                   {{"cosine", "the annealing strategy is not used",
                     changed(linear, [](OneCycleLR& s) { s.anneal = OneCycleLR::Anneal::cosine; })},
                    {"starts_at_maximum", "div_factor is not applied: the first rate is the largest",
                     [=](std::int64_t t) {
                       return t < 5 ? kBase : linear.rate(kBase, t);  // 5 = pct_start · total − 1
                     }}}),
          schedule("schedule.one_cycle.three_phase", "Python", recorded(python::kOneCycleThreePhase),
                   rate_of(three_phase),
                   {{"two_phases", "three_phase is not used",
                     changed(three_phase, [](OneCycleLR& s) { s.three_phase = false; })},
                    {"final_from_maximum",
                     "the last rate is base / final_div_factor, not the initial rate / final_div_factor",
                     changed(three_phase, [](OneCycleLR& s) { s.final_div_factor /= s.div_factor; })}})};
}

// ---- Clipping ----

/// Gradients that float32 represents exactly, with norms far below the maximum, near it and far above it.
Tensors gradients() {
  Tensors all;
  for (const double size : {1e-6, 1e-3, 0.1, 1., 100.}) {
    all.push_back(draw({6}, size).to(at::kFloat).to(at::kDouble));
  }
  return all;
}

using Clip = std::function<double(Tensor& gradient, double max_norm)>;

/// The clipped gradients, then the norms. max_norm is 1, but 1e-7 for the smallest gradient, where the 1e-6
/// in the denominator matters.
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
      .values =
          values([=](Tensor& g, double max_norm) { return optim::clip_by_norm(g, max_norm, norm_type); }),
      .reference =
          [=] {
            // Split into several parameters: the norm is that of all of them.
            return clip_each(all, at::kDouble, [=](Tensor& g, double max_norm) {
              return torch_reference::clip_grad_norm(g.split(4), max_norm, norm_type);
            });
          },
      .has_float32 = true,
      .bugs = {
          {name + ".each_tensor_separately",
           "each tensor is clipped by its own norm, which changes the direction",
           values([=](Tensor& g, double max_norm) {
             const double norm = norm_of(g);
             for (Tensor part : g.split(4)) {
               optim::clip_by_norm(part, max_norm, norm_type);
             }
             return norm;
           })},
          {name + ".small_norms_scaled_up", "min(1, …) is missing: a gradient below the maximum is scaled up",
           values([=](Tensor& g, double max_norm) {
             const double norm = norm_of(g);
             g.mul_(max_norm / (norm + 1e-6));
             return norm;
           })},
          {name + ".epsilon_forgotten", "max_norm / |g| without the 1e-6: shows only in tiny gradients",
           values([=](Tensor& g, double max_norm) {
             const double norm = norm_of(g);
             g.mul_(std::min(1.0, max_norm / norm));
             return norm;
           })},
          {name + ".norm_after", "the norm that is returned is the one after clipping",
           values([=](Tensor& g, double max_norm) {
             optim::clip_by_norm(g, max_norm, norm_type);
             return norm_of(g);
           })}}};
}

}  // namespace

std::vector<ValuesEntry> schedule_entries() {
  return std::vector<ValuesEntry>{step_decay(), cosine(), warm_up()} + one_cycles();
}

std::vector<ValuesEntry> clipping_entries() {
  restart_draws();
  return {clipping("clip_by_norm", 2), clipping("clip_by_norm.largest", kInfinity)};
}

}  // namespace twingrad::catalogue
