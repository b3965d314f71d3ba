#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <utility>

#include "twingrad/layers/layer.h"
#include "twingrad/layers/scale_and_shift.h"

namespace twingrad::nn {

/// The buffers of torch::nn::BatchNorm1d: running statistics of the training batches, used in evaluation
/// mode. They start as mean 0, variance 1.
struct RunningStatistics {
  Tensor mean;               ///< [D]
  Tensor variance;           ///< [D]
  std::int64_t batches = 0;  ///< seen in training
};

struct BatchNorm1dOptions {
  double eps = 1e-5;
  std::optional<double> momentum = 0.1;  ///< std::nullopt: the average over all batches
};

/// Batch normalization of a matrix, as torch::nn::BatchNorm1d. Over the rows n of a column:
///
///   μ      = mean_n x,   σ² = mean_n (x − μ)²       in evaluation the running mean and variance instead
///   x̂      = (x − μ) / √(σ² + ε)
///   y      = γ ∘ x̂ + β                              ScaleAndShift, which gives h = ∂L/∂x̂ = ∂L/∂y ∘ γ
///   ∂L/∂x  = (h − mean_n h − x̂ mean_n(h x̂)) / √(σ² + ε)           training
///   ∂L/∂x  = h / √(σ² + ε)                                        evaluation: μ and σ² are constants
///
/// The two means in ∂L/∂x are the terms through μ and through σ². Training also updates the running
/// statistics,
///
///   mean ← (1 − a) mean + a μ,    variance ← (1 − a) variance + a σ² N / (N − 1)
///
/// where N / (N − 1) makes the variance unbiased and a is the momentum, or 1/(batches so far) without one.
///
/// x, y [N, D]; γ, β, mean, variance [D]. γ and β may be omitted ({}), as with affine = false, and so may
/// the statistics, as with track_running_stats = false: evaluation then uses batch statistics too. An empty
/// batch does not change the running mean and variance.
///
/// Source: Ioffe, Szegedy, Batch normalization (2015), algorithm 1 and section 3.
class BatchNorm1d final : public Layer {
 public:
  BatchNorm1d(Parameter weight, Parameter bias, RunningStatistics statistics,
              const BatchNorm1dOptions& options = {})
      : scale_and_shift_(std::move(weight), std::move(bias)),
        statistics_(std::move(statistics)),
        options_(options) {}

  /// Throws std::invalid_argument for a single row normalized by batch statistics: x − μ would be 0 for
  /// every x, and the unbiased variance 0/0.
  Tensor forward(const Tensor& x) override {
    uses_batch_ = training_ || !statistics_.mean.defined();
    if (uses_batch_ && x.size(0) == 1) {
      throw std::invalid_argument("BatchNorm1d: training requires more than one row per batch, but got one");
    }
    const Tensor mean = uses_batch_ ? x.mean(0) : statistics_.mean;
    at::sub_out(sized(normalized_, x.sizes(), x), x, mean);
    const Tensor variance = uses_batch_ ? normalized_.square().mean(0) : statistics_.variance;
    if (training_ && statistics_.mean.defined()) {
      update_statistics(mean, variance, x.size(0));
    }
    inverse_deviation_ = variance.add(options_.eps).rsqrt_();
    return scale_and_shift_.forward(normalized_.mul_(inverse_deviation_));
  }

  Tensor backward(const Tensor& grad_y) override {
    const Tensor h = scale_and_shift_.backward(grad_y);
    sized(grad_x_, h.sizes(), h);
    if (!uses_batch_) {
      return at::mul_out(grad_x_, h, inverse_deviation_);
    }
    const Tensor mean_of_h_x = at::mul_out(grad_x_, h, normalized_).mean(0);
    at::mul_out(grad_x_, normalized_, mean_of_h_x).add_(h.mean(0));
    return at::sub_out(grad_x_, h, grad_x_).mul_(inverse_deviation_);
  }

  RunningStatistics& statistics() { return statistics_; }

 private:
  void update_statistics(const Tensor& mean, const Tensor& variance, std::int64_t rows) {
    ++statistics_.batches;
    if (rows == 0) {
      return;
    }
    const double a = options_.momentum.value_or(1.0 / static_cast<double>(statistics_.batches));
    const double unbiased = static_cast<double>(rows) / static_cast<double>(rows - 1);
    statistics_.mean.mul_(1 - a).add_(mean, a);
    statistics_.variance.mul_(1 - a).add_(variance, a * unbiased);
  }

  ScaleAndShift scale_and_shift_;
  RunningStatistics statistics_;
  BatchNorm1dOptions options_;
  bool uses_batch_ = true;  ///< whether the last forward used batch statistics
  Tensor normalized_, inverse_deviation_, grad_x_;
};

}  // namespace twingrad::nn
