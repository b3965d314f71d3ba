#pragma once

#include "twingrad/losses/difference_loss.h"

namespace twingrad::nn {

/// Absolute error, as torch::nn::L1Loss.
///
///   f(d)  = |d|                            d = input − target
///   f′(d) = sign(d)
///
/// At the kink d = 0 every slope in [−1, 1] is a subgradient; this loss uses 0, as LibTorch does.
class L1Loss final : public DifferenceLoss {
 public:
  using DifferenceLoss::DifferenceLoss;

 protected:
  Tensor value_of(const Tensor& d) const override { return d.abs(); }

  void slope_of(Tensor& slope, const Tensor& d) const override { at::sign_out(slope, d); }
};

}  // namespace twingrad::nn
