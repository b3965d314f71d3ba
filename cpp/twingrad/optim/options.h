#pragma once

#include <cstdint>

#include "twingrad/optim/schedule.h"
#include "twingrad/runtime/names.h"

namespace twingrad {

template <typename Options>
struct FieldTable;

/// The optimizer of a run. Each twin makes its own from it: a class of optim/, or one of torch::optim.
/// Ranges, and the optimizers that have a field: optimizer_fields().
struct OptimizerOptions {
  enum class Kind { sgd, adam, adamw, rmsprop, adagrad };
  Kind kind = Kind::adam;
  double lr = 1e-3;
  double momentum = 0;
  double dampening = 0;
  bool nesterov = false;
  bool amsgrad = false;
  bool centered = false;
  double weight_decay = 0;    ///< added to the gradient; adamw: decoupled from it
  double clip_norm = 0;       ///< maximum norm of the gradient of all parameters; 0: no limit
  double clip_norm_type = 2;  ///< p of that norm, above 0; infinity: the largest absolute entry
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double alpha = 0.99;
  double lr_decay = 0;
  double initial_accumulator_value = 0;
};

const Names<OptimizerOptions::Kind>& optimizer_kinds();
const FieldTable<OptimizerOptions>& optimizer_fields();

/// The defaults of the optimizer of that kind: those of its class in torch::optim, but lr = 1e-2 for SGD,
/// which has none there.
OptimizerOptions default_options(OptimizerOptions::Kind kind);

/// How the learning rate changes during a run. Ranges, and the schedules that have a field:
/// schedule_fields().
struct ScheduleOptions {
  enum class Kind { constant, step, cosine, one_cycle };
  Kind kind = Kind::constant;
  std::int64_t step_epochs = 10;
  double gamma = 0.1;
  double eta_min = 0;
  double pct_start = 0.3;
  double div_factor = 25;
  double final_div_factor = 1e4;
  optim::OneCycleLR::Anneal anneal = optim::OneCycleLR::Anneal::cosine;
  bool three_phase = false;
  std::int64_t warm_up = 0;        ///< updates of a linear warm-up, with any schedule
  double warm_up_start = 1.0 / 3;  ///< factor of the learning rate in the first update
  double warm_up_end = 1;          ///< factor from the end of the warm-up on
};

const Names<ScheduleOptions::Kind>& schedule_kinds();
const FieldTable<ScheduleOptions>& schedule_fields();

/// The learning rate of update `step` (from 0) of a run of `total_steps` updates. Throws
/// std::invalid_argument for options that the schedule does not accept, and if a phase of one_cycle has no
/// updates.
double learning_rate_at(const ScheduleOptions& schedule, double base, std::int64_t step,
                        std::int64_t steps_per_epoch, std::int64_t total_steps);

}  // namespace twingrad
