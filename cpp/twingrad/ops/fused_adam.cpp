#include "twingrad/ops/fused_adam.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "twingrad/ops/function_clones.h"
#include "twingrad/ops/sum_of_parts.h"

namespace twingrad::ops {
namespace {

/// The coefficients in the dtype of the vectors, as the loop uses them.
template <typename Scalar>
struct LoopCoefficients {
  explicit LoopCoefficients(const AdamCoefficients& c)
      : decay_factor(static_cast<Scalar>(c.decoupled ? 1 - c.lr * c.weight_decay : 1)),
        coupled_decay(static_cast<Scalar>(c.decoupled ? 0 : c.weight_decay)),
        beta1(static_cast<Scalar>(c.beta1)),
        one_minus_beta1(static_cast<Scalar>(1 - c.beta1)),
        beta2(static_cast<Scalar>(c.beta2)),
        one_minus_beta2(static_cast<Scalar>(1 - c.beta2)),
        inverse_root_correction2(static_cast<Scalar>(1 / std::sqrt(c.correction2))),
        eps(static_cast<Scalar>(c.eps)),
        rate(static_cast<Scalar>(c.lr / c.correction1)) {}

  Scalar decay_factor, coupled_decay, beta1, one_minus_beta1, beta2, one_minus_beta2;
  Scalar inverse_root_correction2, eps, rate;
};

/// Reads and writes each vector once, where the tensor version makes eleven passes.
template <typename Scalar>
inline __attribute__((always_inline)) void adam_loop(std::int64_t count, const LoopCoefficients<Scalar>& c,
                                                     Scalar* w, const Scalar* gradient, Scalar* exp_avg,
                                                     Scalar* exp_avg_sq) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    const Scalar g = gradient[i] + c.coupled_decay * w[i];
    const Scalar m = c.beta1 * exp_avg[i] + c.one_minus_beta1 * g;
    const Scalar v = c.beta2 * exp_avg_sq[i] + c.one_minus_beta2 * (g * g);
    exp_avg[i] = m;
    exp_avg_sq[i] = v;
    w[i] = c.decay_factor * w[i] - c.rate * (m / (std::sqrt(v) * c.inverse_root_correction2 + c.eps));
  }
}

/// adam_loop with the sum of `parts` as the gradient, added up one cache-resident block at a time.
template <typename Scalar>
inline __attribute__((always_inline)) void adam_by_parts(std::int64_t count,
                                                         const LoopCoefficients<Scalar>& c, Scalar* w,
                                                         const std::vector<const Scalar*>& parts,
                                                         Scalar* exp_avg, Scalar* exp_avg_sq) {
  if (parts.size() == 1) {
    adam_loop(count, c, w, parts[0], exp_avg, exp_avg_sq);
    return;
  }
  constexpr std::int64_t kBlock = 128;
  Scalar sum[kBlock];
  for (std::int64_t first = 0; first < count; first += kBlock) {
    const std::int64_t size = std::min(kBlock, count - first);
    std::copy_n(parts[0] + first, size, sum);
    for (std::size_t part = 1; part < parts.size(); ++part) {
      for (std::int64_t i = 0; i < size; ++i) {
        sum[i] += parts[part][first + i];
      }
    }
    adam_loop(size, c, w + first, sum, exp_avg + first, exp_avg_sq + first);
  }
}

TWINGRAD_FUNCTION_CLONES void adam_float(std::int64_t count, const LoopCoefficients<float>& c, float* w,
                                         const std::vector<const float*>& parts, float* exp_avg,
                                         float* exp_avg_sq) {
  adam_by_parts(count, c, w, parts, exp_avg, exp_avg_sq);
}

TWINGRAD_FUNCTION_CLONES void adam_double(std::int64_t count, const LoopCoefficients<double>& c, double* w,
                                          const std::vector<const double*>& parts, double* exp_avg,
                                          double* exp_avg_sq) {
  adam_by_parts(count, c, w, parts, exp_avg, exp_avg_sq);
}

template <typename Scalar, typename Loop>
void run_adam(at::Tensor& parameters, at::TensorList gradient_parts, const AdamState& state,
              const AdamCoefficients& coefficients, const Loop& loop) {
  std::vector<const Scalar*> parts;
  for (const at::Tensor& part : gradient_parts) {
    parts.push_back(part.data_ptr<Scalar>());
  }
  loop(parameters.numel(), LoopCoefficients<Scalar>(coefficients), parameters.data_ptr<Scalar>(), parts,
       state.exp_avg.data_ptr<Scalar>(), state.exp_avg_sq.data_ptr<Scalar>());
}

/// m ← β₁ m + (1 − β₁) g and v ← β₂ v + (1 − β₂) g², with coupled weight decay in g. Returns v, or its
/// maximum so far.
const at::Tensor& move_averages(const at::Tensor& parameters, const at::Tensor& gradient,
                                const AdamState& state, const AdamCoefficients& c) {
  const bool is_coupled = c.weight_decay != 0 && !c.decoupled;
  const at::Tensor g = is_coupled ? gradient.add(parameters, c.weight_decay) : gradient;
  state.exp_avg.mul_(c.beta1).add_(g, 1 - c.beta1);
  state.exp_avg_sq.mul_(c.beta2).addcmul_(g, g, 1 - c.beta2);
  if (!state.max_exp_avg_sq.defined()) {
    return state.exp_avg_sq;
  }
  return at::maximum_out(state.max_exp_avg_sq, state.max_exp_avg_sq, state.exp_avg_sq);
}

}  // namespace

void adam(at::Tensor& parameters, const at::Tensor& gradient, const AdamState& state,
          const AdamCoefficients& c) {
  if (c.weight_decay != 0 && c.decoupled) {
    parameters.mul_(1 - c.lr * c.weight_decay);
  }
  const at::Tensor& v = move_averages(parameters, gradient, state, c);
  parameters.addcdiv_(state.exp_avg, v.sqrt().div_(std::sqrt(c.correction2)).add_(c.eps),
                      -c.lr / c.correction1);
}

void adam_on_device(at::Tensor& parameters, const at::Tensor& gradient, const AdamState& state,
                    const AdamCoefficients& c, AdamOnDevice& on_device) {
  const at::Tensor t = on_device.steps.add_(1);
  const at::Tensor correction1 = at::pow(c.beta1, t).neg_().add_(1);
  const at::Tensor correction2 = at::pow(c.beta2, t).neg_().add_(1);
  if (c.weight_decay != 0 && c.decoupled) {
    parameters.mul_(1 - on_device.lr * c.weight_decay);
  }
  const at::Tensor& v = move_averages(parameters, gradient, state, c);
  const at::Tensor denominator = v.sqrt().div_(correction2.sqrt_()).add_(c.eps);
  parameters.sub_(state.exp_avg.div(denominator).mul_(on_device.lr / correction1));
}

void fused_adam(at::Tensor& parameters, at::TensorList gradient_parts, const AdamState& state,
                const AdamCoefficients& coefficients) {
  const auto fits = [&](const at::Tensor& vector) {
    return vector.device().is_cpu() && vector.is_contiguous() &&
           vector.scalar_type() == parameters.scalar_type();
  };
  const bool is_fast = !state.max_exp_avg_sq.defined() && fits(parameters) && fits(state.exp_avg) &&
                       fits(state.exp_avg_sq) &&
                       std::all_of(gradient_parts.begin(), gradient_parts.end(), fits);
  if (is_fast && parameters.scalar_type() == at::kFloat) {
    run_adam<float>(parameters, gradient_parts, state, coefficients, adam_float);
  } else if (is_fast && parameters.scalar_type() == at::kDouble) {
    run_adam<double>(parameters, gradient_parts, state, coefficients, adam_double);
  } else {
    at::Tensor sum;
    adam(parameters, sum_of_parts(gradient_parts, sum), state, coefficients);
  }
}

}  // namespace twingrad::ops
