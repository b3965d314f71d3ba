#pragma once

#include <ATen/ATen.h>
#include <c10/util/StringUtil.h>

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <utility>
#include <vector>

#include "twingrad/ops/sum_of_parts.h"

namespace twingrad::optim {

using at::Tensor;
using at::TensorList;

/// A hand-written update rule for parameters.
///
/// It works on one flat vector of parameters w and one of gradients g, both [P], and does not need to know
/// which entry belongs to which layer. Its state, too, consists of vectors [P] of the same dtype and
/// device.
class Optimizer {
 public:
  Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;
  virtual ~Optimizer() = default;

  /// One step: changes `parameters` in place. The gradient is the sum of `gradient_parts`: one tensor, or
  /// one from each thread that computed a share of the batch.
  virtual void step(Tensor& parameters, TensorList gradient_parts) = 0;

  /// Sets the learning rate of the following steps, for example from a schedule (schedule.h). The state does
  /// not change.
  virtual void set_lr(double lr) = 0;

  /// One vector of the state under the name that torch::optim gives it. `value` points to the optimizer's own
  /// tensor, [P], undefined before the first step.
  struct StateVector {
    const char* name;
    Tensor* value;
  };
  /// Everything but steps() that the next step depends on. To resume, assign the saved tensors.
  virtual std::vector<StateVector> state() = 0;

  /// The number of steps taken; only some rules count them.
  std::int64_t steps() const { return steps_; }
  virtual void set_steps(std::int64_t steps) { steps_ = steps; }

  /// Whether a recorded step (runtime/gpu.h) can be replayed as the next: the numbers that change from step
  /// to step are tensors on the device. After each replay call count_step, which adds to steps().
  virtual bool can_be_recorded() const { return false; }
  void count_step() { ++steps_; }

 protected:
  /// The gradient as one tensor.
  const Tensor& sum(TensorList gradient_parts) { return ops::sum_of_parts(gradient_parts, sum_buffer_); }

  /// Sets the vectors of the state that are undefined to zero.
  void initialize_state(const Tensor& parameters) {
    for (const StateVector& vector : state()) {
      if (!vector.value->defined()) {
        *vector.value = at::zeros_like(parameters);
      }
    }
  }

  std::int64_t steps_ = 0;

 private:
  Tensor sum_buffer_;
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

}  // namespace twingrad::optim
