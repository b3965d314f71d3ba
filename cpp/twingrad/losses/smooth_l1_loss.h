#pragma once

#include <c10/util/StringUtil.h>

#include <stdexcept>

#include "twingrad/losses/difference_loss.h"

namespace twingrad::nn {

/// Absolute error, smoothed around its kink, as torch::nn::SmoothL1Loss. It is Huber's loss divided by β.
///
///   f(d)  = d²/(2β)  if |d| < β,  |d| − β/2 otherwise
///   f′(d) = d/β      if |d| < β,  sign(d) otherwise
///
/// d = input − target; β is 1 by default. With β = 0 it is L1Loss, except that the slope at the kink
/// d = 0 is −1, as in LibTorch, which tests d ≤ −β first.
///
/// Source: Girshick, Fast R-CNN (2015), section 2.3.
class SmoothL1Loss final : public DifferenceLoss {
 public:
  /// Throws std::invalid_argument unless beta ≥ 0.
  explicit SmoothL1Loss(Reduction reduction = Reduction::mean, double beta = 1)
      : DifferenceLoss(reduction), beta_(beta) {
    if (!(beta >= 0)) {
      throw std::invalid_argument(c10::str("SmoothL1Loss: beta must not be negative, but is ", beta));
    }
  }

 protected:
  Tensor value_of(const Tensor& d) const override {
    const Tensor absolute = d.abs();
    return at::where(absolute < beta_, absolute.square().mul_(0.5 / beta_), absolute - 0.5 * beta_);
  }

  void slope_of(Tensor& slope, const Tensor& d) const override {
    slope.copy_(d).div_(beta_).masked_fill_(d >= beta_, 1).masked_fill_(d <= -beta_, -1);
  }

 private:
  double beta_;
};

}  // namespace twingrad::nn
