#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <utility>

#include "twingrad/layers/layer.h"
#include "twingrad/layers/scale_and_shift.h"

namespace twingrad {

/// What batch normalization remembers of the batches it was trained on, and normalizes by in evaluation: the
/// buffers of torch::nn::BatchNorm1d. It starts as mean 0, variance 1.
struct RunningStatistics {
  Tensor mean;               ///< [D]
  Tensor variance;           ///< [D]
  std::int64_t batches = 0;  ///< seen in training
};

/// Batch normalization of a matrix, as torch::nn::BatchNorm1d. Over the rows n of a column:
///
///   μ      = mean_n x,   σ² = mean_n (x − μ)²       in evaluation the running mean and variance instead
///   x̂      = (x − μ) / √(σ² + ε)
///   y      = γ ∘ x̂ + β                              ScaleAndShift, which gives h = ∂L/∂x̂ = ∂L/∂y ∘ γ
///   ∂L/∂x  = (h − mean_n h − x̂ mean_n(h x̂)) / √(σ² + ε)           training
///   ∂L/∂x  = h / √(σ² + ε)                                        evaluation: μ and σ² are constants
///
/// The two means in ∂L/∂x are the ways of x over μ and over σ². Training also moves the running statistics,
///
///   mean ← (1 − a) mean + a μ,    variance ← (1 − a) variance + a σ² N / (N − 1)
///
/// where N / (N − 1) makes the variance unbiased, and a is the momentum, without one 1/(batches so far).
///
/// x, y [N, D]; γ, β, mean, variance [D]. Left out ({}): γ and β as with affine = false, the statistics as
/// with track_running_stats = false (then evaluation too takes those of the batch). A batch of no rows leaves
/// the running mean and variance as they are.
///
/// Source: Ioffe, Szegedy, Batch normalization (2015), algorithm 1 and section 3.
class BatchNorm1d final : public Layer {
 public:
  struct Options {
    double epsilon = 1e-5;
    std::optional<double> momentum = 0.1;  ///< std::nullopt: the average over all batches
  };

  BatchNorm1d(Parameter weight, Parameter bias, RunningStatistics statistics)
      : BatchNorm1d(std::move(weight), std::move(bias), std::move(statistics), Options()) {}
  BatchNorm1d(Parameter weight, Parameter bias, RunningStatistics statistics, const Options& options)
      : scale_and_shift_(std::move(weight), std::move(bias)),
        statistics_(std::move(statistics)),
        options_(options) {}

  /// Throws std::invalid_argument for one row that would be normalized by its own statistics: x − μ is 0
  /// whatever x is, and the unbiased variance is 0/0.
  const Tensor& forward(const Tensor& x) override {
    by_batch_ = training_ || !statistics_.mean.defined();
    if (by_batch_ && x.size(0) == 1) {
      throw std::invalid_argument("BatchNorm1d: training wants more than one row in a batch, but got one");
    }
    const Tensor mean = by_batch_ ? x.mean(0) : statistics_.mean;
    at::sub_out(sized(normalized_, x.sizes(), x), x, mean);
    const Tensor variance = by_batch_ ? normalized_.square().mean(0) : statistics_.variance;
    if (training_ && statistics_.mean.defined()) {
      remember(mean, variance, x.size(0));
    }
    inverse_deviation_ = variance.add(options_.epsilon).rsqrt_();
    return scale_and_shift_.forward(normalized_.mul_(inverse_deviation_));
  }

  const Tensor& backward(const Tensor& grad_y) override {
    const Tensor& h = scale_and_shift_.backward(grad_y);
    sized(grad_x_, h.sizes(), h);
    if (!by_batch_) {
      return at::mul_out(grad_x_, h, inverse_deviation_);
    }
    const Tensor mean_of_h_x = at::mul_out(grad_x_, h, normalized_).mean(0);
    at::mul_out(grad_x_, normalized_, mean_of_h_x).add_(h.mean(0));
    return at::sub_out(grad_x_, h, grad_x_).mul_(inverse_deviation_);
  }

  RunningStatistics& statistics() { return statistics_; }

 private:
  void remember(const Tensor& mean, const Tensor& variance, std::int64_t rows) {
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
  Options options_;
  bool by_batch_ = true;  ///< whether the last forward normalized by the batch's own statistics
  Tensor normalized_, inverse_deviation_, grad_x_;
};

}  // namespace twingrad
