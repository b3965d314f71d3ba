#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <stdexcept>
#include <string>

/// Learning rate schedules, as in Python's torch.optim.lr_scheduler (LibTorch has only StepLR). Each is a
/// function of the step t, with t = 0 for the first update. A step is an update or an epoch, as the caller
/// chooses. Pass the result to Optimizer::set_lr. This header does not need LibTorch.
namespace twingrad::optim {

/// Throws std::invalid_argument with this text unless the condition holds.
inline void require_of_schedule(bool condition, const std::string& text) {
  if (!condition) {
    throw std::invalid_argument(text);
  }
}

/// Staircase, as StepLR.
///
///   rate(t) = base · γ^⌊t / step_size⌋
struct StepLR {
  std::int64_t step_size = 1;
  double gamma = 0.1;

  /// Throws std::invalid_argument unless step_size ≥ 1.
  double rate(double base, std::int64_t t) const {
    require_of_schedule(step_size >= 1,
                        "StepLR: step_size must be at least 1, but is " + std::to_string(step_size));
    const std::int64_t steps_down = t / step_size;
    return base * std::pow(gamma, static_cast<double>(steps_down));
  }
};

/// Half a period of a cosine, from the base rate down to eta_min at t = t_max, as CosineAnnealingLR. After
/// t_max the rate rises again.
///
///   rate(t) = eta_min + (base − eta_min) (1 + cos(π t / t_max)) / 2
///
/// Source: Loshchilov, Hutter, SGDR: stochastic gradient descent with warm restarts (2017), equation 5.
struct CosineAnnealingLR {
  std::int64_t t_max = 1;
  double eta_min = 0;

  /// Throws std::invalid_argument unless t_max ≥ 1.
  double rate(double base, std::int64_t t) const {
    require_of_schedule(t_max >= 1,
                        "CosineAnnealingLR: t_max must be at least 1, but is " + std::to_string(t_max));
    const double phase = static_cast<double>(t) / static_cast<double>(t_max);
    return eta_min + (base - eta_min) * (1 + std::cos(std::numbers::pi * phase)) / 2;
  }
};

/// Linear from start_factor to end_factor times the base rate, then constant, as LinearLR.
///
///   rate(t) = base · (start + (end − start) min(t, total) / total)
///
/// Source: Goyal et al., Accurate, large minibatch SGD (2017), section 2.2.
struct LinearLR {
  double start_factor = 1.0 / 3;
  double end_factor = 1;
  std::int64_t total_steps = 5;

  /// Throws std::invalid_argument unless 0 < start_factor ≤ 1, 0 ≤ end_factor ≤ 1 and total_steps ≥ 1.
  double rate(double base, std::int64_t t) const {
    require_of_schedule(start_factor > 0 && start_factor <= 1 && end_factor >= 0 && end_factor <= 1,
                        "LinearLR: start_factor must be in (0, 1] and end_factor in [0, 1], but they are " +
                            std::to_string(start_factor) + " and " + std::to_string(end_factor));
    require_of_schedule(total_steps >= 1,
                        "LinearLR: total_steps must be at least 1, but is " + std::to_string(total_steps));
    const double share = t < total_steps ? static_cast<double>(t) / static_cast<double>(total_steps) : 1;
    return base * (start_factor + (end_factor - start_factor) * share);
  }
};

/// Rises to the base rate and falls to a small fraction of it within one run, as OneCycleLR with
/// cycle_momentum = False.
///
///   initial = base / div_factor,   min = initial / final_div_factor
///   rises from initial to base until t = pct_start · total − 1, then falls to min at t = total − 1;
///   three_phase: falls to initial until t = 2 · pct_start · total − 2, then to min
///
/// Each phase is half a period of a cosine, or linear.
/// Source: Smith, Topin, Super-convergence: very fast training of neural networks using large learning rates
/// (2018).
struct OneCycleLR {
  enum class Anneal { cosine, linear };
  std::int64_t total_steps = 1;
  double pct_start = 0.3;
  Anneal anneal = Anneal::cosine;
  double div_factor = 25;
  double final_div_factor = 1e4;
  bool three_phase = false;

  /// base: the maximum rate. Throws std::invalid_argument unless total_steps ≥ 1, 0 ≤ t ≤ total_steps and
  /// 0 ≤ pct_start ≤ 1, and if the phase of t has length 0.
  double rate(double base, std::int64_t t) const {
    require_of_schedule(total_steps >= 1 && t >= 0 && t <= total_steps,
                        "OneCycleLR: step " + std::to_string(t) + " of " + std::to_string(total_steps));
    require_of_schedule(pct_start >= 0 && pct_start <= 1,
                        "OneCycleLR: pct_start must be in [0, 1], but is " + std::to_string(pct_start));
    const double initial = base / div_factor;
    const double last = static_cast<double>(total_steps) - 1;
    const double top = pct_start * static_cast<double>(total_steps) - 1;
    const double back = 2 * pct_start * static_cast<double>(total_steps) - 2;
    const auto now = static_cast<double>(t);
    if (now <= top) {
      return between(initial, base, now, 0, top);
    }
    if (three_phase && now <= back) {
      return between(base, initial, now, top, back);
    }
    return three_phase ? between(initial, initial / final_div_factor, now, back, last)
                       : between(base, initial / final_div_factor, now, top, last);
  }

 private:
  /// The rate at t in the phase from `from` at t = start to `to` at t = end.
  double between(double from, double to, double t, double start, double end) const {
    require_of_schedule(start != end, "OneCycleLR: total_steps is too small: a phase has length 0");
    const double share = (t - start) / (end - start);
    return anneal == Anneal::cosine ? to + (from - to) / 2 * (std::cos(std::numbers::pi * share) + 1)
                                    : (to - from) * share + from;
  }
};

}  // namespace twingrad::optim
