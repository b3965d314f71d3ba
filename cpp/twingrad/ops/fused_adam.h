#pragma once

#include <ATen/core/Tensor.h>

namespace twingrad::ops {

/// The numbers of one Adam step, see optim/adam.h.
struct AdamCoefficients {
  double lr;
  double beta1, beta2;
  double eps;
  double weight_decay;
  bool decoupled;                           ///< AdamW
  double correction1 = 1, correction2 = 1;  ///< 1 − β₁ᵗ, 1 − β₂ᵗ
};

/// The state of Adam, flat vectors [P]. max_exp_avg_sq is undefined without AMSGrad.
struct AdamState {
  at::Tensor& exp_avg;
  at::Tensor& exp_avg_sq;
  at::Tensor& max_exp_avg_sq;
};

/// One step of Adam on `parameters` [P] by a gradient that is the sum of one or more parts, each [P].
///
/// Contiguous float32 and float64 vectors on the CPU are updated in one pass over memory, without storing the
/// sum. AMSGrad and all other vectors use tensor operations.
void fused_adam(at::Tensor& parameters, at::TensorList gradient_parts, const AdamState& state,
                const AdamCoefficients& coefficients);

/// The tensor version with a single gradient: any floating dtype, layout and device.
void adam(at::Tensor& parameters, const at::Tensor& gradient, const AdamState& state,
          const AdamCoefficients& coefficients);

/// The numbers that change from step to step as tensors, 0-d, float64, on the device of the vectors.
struct AdamOnDevice {
  at::Tensor steps = {};  ///< taken so far
  at::Tensor lr = {};
};

/// The tensor version for a step that is recorded once and replayed (runtime/gpu.h). It reads the learning
/// rate from `on_device` and counts the step there; the coefficients' lr and corrections are not used.
void adam_on_device(at::Tensor& parameters, const at::Tensor& gradient, const AdamState& state,
                    const AdamCoefficients& coefficients, AdamOnDevice& on_device);

}  // namespace twingrad::ops
