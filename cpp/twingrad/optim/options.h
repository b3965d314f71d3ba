#pragma once

#include <cstdint>

#include "twingrad/optim/schedule.h"

namespace twingrad {

/// The optimizer of a run. Each twin makes its own from it: a class of optim/, or one of torch::optim.
struct OptimizerOptions {
  enum class Kind { sgd, adam, adamw, rmsprop, adagrad };
  Kind kind = Kind::adam;
  double learning_rate = 1e-3;
  double momentum = 0;      ///< sgd, rmsprop
  double dampening = 0;     ///< sgd
  bool nesterov = false;    ///< sgd
  bool amsgrad = false;     ///< adam, adamw
  bool centered = false;    ///< rmsprop
  double weight_decay = 0;  ///< part of the gradient; adamw: decoupled
  double clip_norm = 0;     ///< the largest norm of the gradient of all parameters; 0: any
};

/// How the learning rate changes in the course of a run.
struct ScheduleOptions {
  enum class Kind { constant, step, cosine, one_cycle };
  Kind kind = Kind::constant;
  std::int64_t step_epochs = 10;  ///< step: every so many epochs the rate is multiplied by gamma
  double gamma = 0.1;             ///< step
  std::int64_t warm_up = 0;       ///< updates in which the rate climbs linearly from a third to the whole
};

/// The learning rate of update `step` (from 0) of a run of `total_steps` updates.
inline double learning_rate_at(const ScheduleOptions& schedule, double base, std::int64_t step,
                               std::int64_t steps_per_epoch, std::int64_t total_steps) {
  double rate = base;
  switch (schedule.kind) {
    case ScheduleOptions::Kind::constant:
      break;
    case ScheduleOptions::Kind::step:
      rate = StepDecay{.step_size = schedule.step_epochs, .gamma = schedule.gamma}.rate(
          base, step / steps_per_epoch);
      break;
    case ScheduleOptions::Kind::cosine:
      rate = CosineAnnealing{.t_max = total_steps}.rate(base, step);
      break;
    case ScheduleOptions::Kind::one_cycle:
      rate = OneCycle{.total_steps = total_steps}.rate(base, step);
      break;
  }
  return schedule.warm_up > 0 ? LinearWarmUp{.total_steps = schedule.warm_up}.rate(rate, step) : rate;
}

}  // namespace twingrad
