#include <algorithm>
#include <cmath>

#include "twingrad/optim/adam.h"
#include "twingrad/runtime/function_clones.h"

namespace twingrad {
namespace {

/// What one step needs beside the vectors, in the dtype of the vectors.
template <typename Scalar>
struct Coefficients {
  Scalar decay_factor, coupled_decay, beta1, one_minus_beta1, beta2, one_minus_beta2,
      inverse_root_correction2, epsilon, rate;
};

/// Reads and writes each vector once, where the tensor operations of adam.h pass over them eleven times.
template <typename Scalar>
inline __attribute__((always_inline)) void update(std::int64_t count, const Coefficients<Scalar>& c,
                                                  Scalar* w, const Scalar* gradient, Scalar* mean,
                                                  Scalar* square) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    const Scalar g = gradient[i] + c.coupled_decay * w[i];
    const Scalar m = c.beta1 * mean[i] + c.one_minus_beta1 * g;
    const Scalar v = c.beta2 * square[i] + c.one_minus_beta2 * (g * g);
    mean[i] = m;
    square[i] = v;
    w[i] = c.decay_factor * w[i] - c.rate * (m / (std::sqrt(v) * c.inverse_root_correction2 + c.epsilon));
  }
}

/// The same with the sum of `parts` as the gradient, a block of it at a time.
template <typename Scalar>
inline __attribute__((always_inline)) void one_pass(std::int64_t count, const Coefficients<Scalar>& c,
                                                    Scalar* w, const std::vector<const Scalar*>& parts,
                                                    Scalar* mean, Scalar* square) {
  if (parts.size() == 1) {
    update(count, c, w, parts[0], mean, square);
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
    update(size, c, w + first, sum, mean + first, square + first);
  }
}

TWINGRAD_FUNCTION_CLONES void one_pass_float(std::int64_t count, const Coefficients<float>& c, float* w,
                                             const std::vector<const float*>& parts, float* mean,
                                             float* square) {
  one_pass(count, c, w, parts, mean, square);
}

TWINGRAD_FUNCTION_CLONES void one_pass_double(std::int64_t count, const Coefficients<double>& c, double* w,
                                              const std::vector<const double*>& parts, double* mean,
                                              double* square) {
  one_pass(count, c, w, parts, mean, square);
}

}  // namespace

bool Adam::step_by_sum(Tensor& parameters, const std::vector<Tensor>& gradients) {
  const auto fits = [&](const Tensor& vector) {
    return vector.device().is_cpu() && vector.is_contiguous() &&
           vector.scalar_type() == parameters.scalar_type();
  };
  if (options_.amsgrad || !fits(parameters) || !std::all_of(gradients.begin(), gradients.end(), fits)) {
    return false;
  }
  const auto run = [&]<typename Scalar>(Scalar /*dtype*/, auto one_pass_function) {
    begin_step(parameters);
    const auto scalar = [](double value) { return static_cast<Scalar>(value); };
    const double decay = options_.learning_rate * options_.weight_decay;
    const Coefficients<Scalar> coefficients{
        scalar(options_.decoupled ? 1 - decay : 1),
        scalar(options_.decoupled ? 0 : options_.weight_decay),
        scalar(options_.beta1),
        scalar(1 - options_.beta1),
        scalar(options_.beta2),
        scalar(1 - options_.beta2),
        scalar(1 / std::sqrt(correction(options_.beta2))),
        scalar(options_.epsilon),
        scalar(options_.learning_rate / correction(options_.beta1)),
    };
    std::vector<const Scalar*> parts;
    for (const Tensor& gradient : gradients) {
      parts.push_back(gradient.data_ptr<Scalar>());
    }
    one_pass_function(parameters.numel(), coefficients, parameters.data_ptr<Scalar>(), parts,
                      mean_.data_ptr<Scalar>(), square_.data_ptr<Scalar>());
    return true;
  };
  switch (parameters.scalar_type()) {
    case at::kFloat:
      return run(float{}, one_pass_float);
    case at::kDouble:
      return run(double{}, one_pass_double);
    default:
      return false;
  }
}

}  // namespace twingrad
