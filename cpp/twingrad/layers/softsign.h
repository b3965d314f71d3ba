#pragma once

#include "twingrad/layers/activation.h"

namespace twingrad::nn {

/// Softsign, as torch::nn::Softsign.
///
///   f(x)  = x / (1 + |x|)
///   f′(x) = 1 / (1 + |x|)²
///
/// Source: Turian, Bergstra, Bengio, Quadratic features and deep architectures for chunking (2009).
class Softsign final : public Activation {
 protected:
  void value(Tensor& y, const Tensor& x) const override { at::div_out(y, x, x.abs().add_(1)); }

  void derivative(Tensor& dy_dx, const Tensor& x, const Tensor& /*y*/) const override {
    at::abs_out(dy_dx, x).add_(1).square_().reciprocal_();
  }
};

}  // namespace twingrad::nn
