#include "twingrad/optim/options.h"

#include "twingrad/runtime/fields.h"

namespace twingrad {

const Names<OptimizerOptions::Kind>& optimizer_kinds() {
  using Kind = OptimizerOptions::Kind;
  static const Names<Kind> names = {{"adam", Kind::adam},
                                    {"adamw", Kind::adamw},
                                    {"sgd", Kind::sgd},
                                    {"rmsprop", Kind::rmsprop},
                                    {"adagrad", Kind::adagrad}};
  return names;
}

const FieldTable<OptimizerOptions>& optimizer_fields() {
  using O = OptimizerOptions;
  // clang-format off
  const Kinds adam = {"adam", "adamw"};
  const Kinds all_but_sgd = {"adam", "adamw", "rmsprop", "adagrad"};
  static const FieldTable<O> table = {"Optimizer", "--optimizer", {
    // option, member, range, kinds, label in the heading, help
    choice("--optimizer", &O::kind, optimizer_kinds(), {}, "{}", "").in_json_as("kind").always_shown(),
    number("--lr", &O::lr, {0, 1e6}, {}, "learning rate {}",
           "learning rate; default 1e-3, for sgd, rmsprop and adagrad 1e-2").always_shown().without_default(),
    number("--momentum", &O::momentum, {0, 1}, {"sgd", "rmsprop"}, "momentum {}", "momentum factor"),
    number("--dampening", &O::dampening, {0, 1}, {"sgd"}, "dampening {}", "dampening for momentum")
        .needs("--momentum 0.9"),
    flag("--nesterov", &O::nesterov, {"sgd"}, "Nesterov", "Nesterov momentum").needs("--momentum 0.9"),
    number("--beta1", &O::beta1, {0, 0.999999}, adam, "β1 {}", "decay rate of the running mean"),
    number("--beta2", &O::beta2, {0, 0.999999}, adam, "β2 {}",
           "decay rate of the running mean of squares"),
    flag("--amsgrad", &O::amsgrad, adam, "amsgrad",
         "divide by the largest running mean of squares so far"),
    number("--alpha", &O::alpha, {0, 1}, {"rmsprop"}, "alpha {}",
           "decay rate of the running mean of squares"),
    flag("--centered", &O::centered, {"rmsprop"}, "centered",
         "normalize the gradient by an estimate of its variance"),
    number("--eps", &O::eps, {1e-30, 1e6}, all_but_sgd, "eps {}",
           "added to the denominator for numerical stability; default 1e-8, for adagrad 1e-10")
        .without_default(),
    number("--lr-decay", &O::lr_decay, {0, 1e6}, {"adagrad"}, "rate decay {}",
           "update t uses the learning rate lr / (1 + (t - 1) lr_decay)"),
    number("--initial-accumulator", &O::initial_accumulator_value, {0, 1e6}, {"adagrad"},
           "initial accumulator {}", "initial value of the sum of squares"),
    number("--weight-decay", &O::weight_decay, {0, 1e6}, {}, "weight decay {}",
           "weight decay, added to the gradient (adamw: decoupled); default 0, for adamw 1e-2")
        .without_default(),
    number("--clip-norm", &O::clip_norm, {1e-12, 1e12}, {}, "clipped to norm {}",
           "clip the global gradient norm to this value").without_default(),
    number("--clip-norm-type", &O::clip_norm_type, {0.1, 100, /*or_infinity=*/true}, {}, "p {}",
           "p of that norm; inf: the largest absolute entry").needs("--clip-norm 1"),
  }};
  // clang-format on
  return table;
}

OptimizerOptions default_options(OptimizerOptions::Kind kind) {
  using Kind = OptimizerOptions::Kind;
  const bool is_adam = kind == Kind::adam || kind == Kind::adamw;
  return {.kind = kind,
          .lr = is_adam ? 1e-3 : 1e-2,
          .weight_decay = kind == Kind::adamw ? 1e-2 : 0,
          .eps = kind == Kind::adagrad ? 1e-10 : 1e-8};
}

const Names<ScheduleOptions::Kind>& schedule_kinds() {
  using Kind = ScheduleOptions::Kind;
  static const Names<Kind> names = {{"constant", Kind::constant},
                                    {"step", Kind::step},
                                    {"cosine", Kind::cosine},
                                    {"one_cycle", Kind::one_cycle}};
  return names;
}

const FieldTable<ScheduleOptions>& schedule_fields() {
  using O = ScheduleOptions;
  using Anneal = optim::OneCycleLR::Anneal;
  static const Names<Anneal> anneals = {{"cosine", Anneal::cosine}, {"linear", Anneal::linear}};
  // clang-format off
  static const FieldTable<O> table = {"Learning rate schedule", "--schedule", {
    // option, member, range, kinds, label in the heading, help
    choice("--schedule", &O::kind, schedule_kinds(), {}, "{}", "").in_json_as("kind"),
    integer("--schedule-epochs", &O::step_epochs, {1}, {"step"}, "every {} epochs",
            "epochs between two drops of the learning rate").in_json_as("step_epochs").always_shown(),
    number("--schedule-gamma", &O::gamma, {0, 1}, {"step"}, "times {}",
           "factor of the learning rate at each drop").in_json_as("gamma").always_shown(),
    number("--eta-min", &O::eta_min, {0, 1e6}, {"cosine"}, "down to {}", "learning rate at the end"),
    number("--pct-start", &O::pct_start, {0, 1}, {"one_cycle"}, "rising for {}",
           "fraction of the updates in which the learning rate rises"),
    number("--div-factor", &O::div_factor, {1e-6, 1e12}, {"one_cycle"}, "div factor {}",
           "the learning rate starts at --lr divided by this"),
    number("--final-div-factor", &O::final_div_factor, {1e-6, 1e12}, {"one_cycle"}, "final div factor {}",
           "the learning rate ends at its initial value divided by this"),
    choice("--anneal", &O::anneal, anneals, {"one_cycle"}, "{}", "shape of each phase, cosine or linear"),
    flag("--three-phase", &O::three_phase, {"one_cycle"}, "three phases",
         "fall to the initial rate as fast as it rose, then to the final one"),
    integer("--warm-up", &O::warm_up, {0}, {}, "warm-up of {} updates", "updates of a linear warm-up"),
    number("--warm-up-start", &O::warm_up_start, {1e-9, 1}, {}, "from {}",
           "factor of the learning rate at the start of the warm-up").needs("--warm-up 100"),
    number("--warm-up-end", &O::warm_up_end, {0, 1}, {}, "to {}",
           "factor of the learning rate from the end of the warm-up on").needs("--warm-up 100"),
  }};
  // clang-format on
  return table;
}

double learning_rate_at(const ScheduleOptions& schedule, double base, std::int64_t step,
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
