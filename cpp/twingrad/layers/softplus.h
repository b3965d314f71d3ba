#pragma once

#include "twingrad/layers/activation.h"

namespace twingrad::nn {

/// Smooth ReLU, as torch::nn::Softplus with beta = 1 and threshold = 20.
///
///   f(x)  = log(1 + exp(x))                for x > 20 simply x: there they differ by less than 3e-9
///   f′(x) = σ(x) = 1 / (1 + exp(−x))       for x > 20 simply 1
///
/// Source: Dugas, Bengio, Bélisle, Nadeau, Garcia, Incorporating second-order functional knowledge (2001).
class Softplus final : public Activation {
 protected:
  void value(Tensor& y, const Tensor& x) const override {
    at::exp_out(y, at::clamp_max(x, kThreshold)).log1p_();
    at::where_out(y, x > kThreshold, x, y);
  }

  void derivative(Tensor& dy_dx, const Tensor& x, const Tensor& /*y*/) const override {
    at::sigmoid_out(dy_dx, x).masked_fill_(x > kThreshold, 1);
  }

 private:
  static constexpr double kThreshold = 20;
};

}  // namespace twingrad::nn
