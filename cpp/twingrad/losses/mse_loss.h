#pragma once

#include "twingrad/losses/difference_loss.h"

namespace twingrad::nn {

/// Squared error, as torch::nn::MSELoss.
///
///   f(d)  = d²                             d = input − target
///   f′(d) = 2 d
class MSELoss final : public DifferenceLoss {
 public:
  using DifferenceLoss::DifferenceLoss;

 protected:
  Tensor value_of(const Tensor& d) const override { return d.square(); }

  void slope_of(Tensor& slope, const Tensor& d) const override { at::add_out(slope, d, d); }
};

}  // namespace twingrad::nn
