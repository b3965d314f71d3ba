#pragma once

#include "twingrad/losses/loss.h"

namespace twingrad::nn {

struct KLDivLossOptions {
  Reduction reduction = Reduction::mean;
  bool log_target = false;
  bool batch_mean = false;  ///< with Reduction::mean: divide by N (LibTorch's "batchmean")
};

/// Kullback–Leibler divergence between a distribution t and log-probabilities x, as torch::nn::KLDivLoss.
///
///   ℓ      = t (log t − x)             0 where t = 0: t log t tends to 0
///   ∂ℓ/∂x  = −t
///
/// or, with log_target, where log t is given in place of t,
///
///   ℓ      = exp(log t) (log t − x)
///   ∂ℓ/∂x  = −exp(log t)
///
/// input (the log-probabilities), target (t or log t), ℓ [N, C]. The mean divides by N·C, as LibTorch's
/// default does. The divergence of a row is the sum of its entries; for its mean over the rows, divide by N
/// (batch_mean).
/// Source: Kullback, Leibler, On information and sufficiency (1951).
class KLDivLoss final : public Loss {
 public:
  explicit KLDivLoss(const KLDivLossOptions& options = {}) : Loss(options.reduction), options_(options) {}

 protected:
  /// Throws std::invalid_argument unless the target has the shape of the input.
  Tensor value(const Tensor& log_probabilities, const Tensor& target) override {
    require_equal_shapes("KLDivLoss", log_probabilities, target);
    sized(t_, target.sizes(), target).copy_(target);
    if (options_.log_target) {
      t_.exp_();
      return (target - log_probabilities).mul_(t_);
    }
    return (target.log() - log_probabilities).mul_(t_).masked_fill_(t_ == 0, 0);
  }

  Tensor derivative() override { return at::neg_out(sized(grad_, t_.sizes(), t_), t_); }

  Tensor count(const Tensor& losses) override {
    return options_.batch_mean ? at::full({}, static_cast<double>(losses.size(0)), losses.options())
                               : Loss::count(losses);
  }

 private:
  KLDivLossOptions options_;
  Tensor t_, grad_;
};

}  // namespace twingrad::nn
