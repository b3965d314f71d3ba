#pragma once

#include <ATen/core/Tensor.h>

namespace twingrad::ops {

/// The numbers of one Adam step, see optim/adam.h.
struct AdamCoefficients {
  double lr;
  double beta1, beta2;
  double eps;
  double weight_decay;
  bool decoupled;                   ///< AdamW
  double correction1, correction2;  ///< 1 − β₁ᵗ, 1 − β₂ᵗ
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

}  // namespace twingrad::ops
