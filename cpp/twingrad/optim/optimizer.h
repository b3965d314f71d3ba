#pragma once

#include <ATen/ATen.h>
#include <c10/util/StringUtil.h>

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <utility>
#include <vector>

namespace twingrad {

using at::Tensor;

/// A rule that moves parameters against their gradient, written by hand.
///
/// It knows one flat vector of parameters w and one of gradients g, both [P]; what the entries mean it does
/// not know. Whatever state a rule needs is a vector [P] of the same dtype and device, zero before the first
/// step.
class Optimizer {
 public:
  Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;
  virtual ~Optimizer() = default;

  /// One step: changes `parameters` in place.
  virtual void step(Tensor& parameters, const Tensor& gradients) = 0;

  /// The same step by a gradient that lies in parts, one from each thread: their sum, in their order, which is not stored.
  /// Returns false, having done nothing, unless the rule can.
  virtual bool step_by_sum(Tensor& /*parameters*/, const std::vector<Tensor>& /*gradients*/) { return false; }

  /// The learning rate of the steps to come, for example from a schedule (schedule.h). The state stays.
  virtual void set_learning_rate(double learning_rate) = 0;

  /// One vector of the state under its name: the very tensor, [P], undefined before the first step.
  struct StateVector {
    const char* name;
    Tensor* value;
  };
  /// All that the next step depends on beside its arguments, the steps apart. A checkpoint reads it; whoever continues a run
  /// puts back what was saved.
  virtual std::vector<StateVector> state() = 0;

  /// Steps taken so far, as far as a rule counts them.
  std::int64_t steps() const { return steps_; }
  void set_steps(std::int64_t steps) { steps_ = steps; }

 protected:
  std::int64_t steps_ = 0;
};

/// Throws std::invalid_argument if one of these options is negative or NaN.
inline void require_not_negative(const char* optimizer,
                                 std::initializer_list<std::pair<const char*, double>> options) {
  for (const auto& [name, value] : options) {
    if (!(value >= 0)) {
      throw std::invalid_argument(c10::str(optimizer, ": ", name, " must not be negative, but is ", value));
    }
  }
}

}  // namespace twingrad
