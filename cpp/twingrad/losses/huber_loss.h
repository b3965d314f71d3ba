#pragma once

#include <c10/util/StringUtil.h>

#include <stdexcept>

#include "twingrad/losses/difference_loss.h"

namespace twingrad::nn {

/// Squared error near 0, absolute error far out, as torch::nn::HuberLoss.
///
///   f(d)  = d²/2  if |d| ≤ δ,  δ (|d| − δ/2) otherwise   =   c (|d| − c/2),   c = min(|d|, δ)
///   f′(d) = d     if |d| ≤ δ,  δ sign(d) otherwise       =   min(max(d, −δ), δ)
///
/// The two pieces meet with equal slope. d = input − target; δ is 1 by default.
/// Source: Huber, Robust estimation of a location parameter (1964).
class HuberLoss final : public DifferenceLoss {
 public:
  /// Throws std::invalid_argument unless delta > 0.
  explicit HuberLoss(Reduction reduction = Reduction::mean, double delta = 1)
      : DifferenceLoss(reduction), delta_(delta) {
    if (!(delta > 0)) {
      throw std::invalid_argument(c10::str("HuberLoss: delta must be above 0, but is ", delta));
    }
  }

 protected:
  Tensor value_of(const Tensor& d) const override {
    const Tensor absolute = d.abs();
    const Tensor c = absolute.clamp_max(delta_);
    return absolute.sub_(c, 0.5).mul_(c);
  }

  void slope_of(Tensor& slope, const Tensor& d) const override { at::clamp_out(slope, d, -delta_, delta_); }

 private:
  double delta_;
};

}  // namespace twingrad::nn
