#pragma once

#include <cstdint>

#include "twingrad/optim/schedule.h"

namespace twingrad {

/// The optimizer of a run. Each twin makes its own from it: a class of optim/, or one of torch::optim.
struct OptimizerOptions {
  enum class Kind { sgd, adam, adamw, rmsprop, adagrad };
  Kind kind = Kind::adam;
  double lr = 1e-3;
  double momentum = 0;                   ///< sgd, rmsprop
  double dampening = 0;                  ///< sgd
  bool nesterov = false;                 ///< sgd
  bool amsgrad = false;                  ///< adam, adamw
  bool centered = false;                 ///< rmsprop
  double weight_decay = 0;               ///< part of the gradient; adamw: decoupled
  double clip_norm = 0;                  ///< the largest norm of the gradient of all parameters; 0: any
  double clip_norm_type = 2;             ///< p of that norm, above 0; infinity: the largest entry
  double beta1 = 0.9;                    ///< adam, adamw
  double beta2 = 0.999;                  ///< adam, adamw
  double eps = 1e-8;                     ///< all but sgd
  double alpha = 0.99;                   ///< rmsprop
  double lr_decay = 0;                   ///< adagrad
  double initial_accumulator_value = 0;  ///< adagrad
};

/// The options of torch::optim's class of that kind where nothing else is said.
inline OptimizerOptions default_options(OptimizerOptions::Kind kind) {
  using Kind = OptimizerOptions::Kind;
  const bool is_adam = kind == Kind::adam || kind == Kind::adamw;
  return {.kind = kind,
          .lr = is_adam ? 1e-3 : 1e-2,
          .weight_decay = kind == Kind::adamw ? 1e-2 : 0,
          .eps = kind == Kind::adagrad ? 1e-10 : 1e-8};
}

/// How the learning rate changes in the course of a run.
struct ScheduleOptions {
  enum class Kind { constant, step, cosine, one_cycle };
  Kind kind = Kind::constant;
  std::int64_t step_epochs = 10;   ///< step: every so many epochs the rate is multiplied by gamma
  double gamma = 0.1;              ///< step
  std::int64_t warm_up = 0;        ///< updates in which the rate climbs linearly
  double warm_up_start = 1.0 / 3;  ///< from this share of it
  double warm_up_end = 1;          ///< to this one, which it keeps
  double eta_min = 0;              ///< cosine: the rate at the end
  double pct_start =
      0.3;  ///< one_cycle, this and the rest: the share of the updates in which the rate climbs
  double div_factor = 25;         ///< it starts at 1/div_factor of the largest rate
  double final_div_factor = 1e4;  ///< and ends at 1/final_div_factor of where it started
  optim::OneCycleLR::Anneal anneal = optim::OneCycleLR::Anneal::cosine;
  bool three_phase = false;  ///< down as fast as up, then on to the end
};

/// The learning rate of update `step` (from 0) of a run of `total_steps` updates. Throws std::invalid_argument for
/// options that the schedule does not take, and where a phase of one_cycle has no length.
inline double learning_rate_at(const ScheduleOptions& schedule, double base, std::int64_t step,
                               std::int64_t steps_per_epoch, std::int64_t total_steps) {
  double rate = base;
  switch (schedule.kind) {
    case ScheduleOptions::Kind::constant:
      break;
    case ScheduleOptions::Kind::step:
      rate = optim::StepLR{.step_size = schedule.step_epochs, .gamma = schedule.gamma}.rate(
          base, step / steps_per_epoch);
      break;
    case ScheduleOptions::Kind::cosine:
      rate = optim::CosineAnnealingLR{.t_max = total_steps, .eta_min = schedule.eta_min}.rate(base, step);
      break;
    case ScheduleOptions::Kind::one_cycle:
      rate = optim::OneCycleLR{.total_steps = total_steps,
                               .pct_start = schedule.pct_start,
                               .anneal = schedule.anneal,
                               .div_factor = schedule.div_factor,
                               .final_div_factor = schedule.final_div_factor,
                               .three_phase = schedule.three_phase}
                 .rate(base, step);
      break;
  }
  return schedule.warm_up > 0 ? optim::LinearLR{.start_factor = schedule.warm_up_start,
                                                .end_factor = schedule.warm_up_end,
                                                .total_steps = schedule.warm_up}
                                    .rate(rate, step)
                              : rate;
}

}  // namespace twingrad
