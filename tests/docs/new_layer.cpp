// A new activation, checked before it is added to the library: see docs/add-a-layer.md.

#include <iostream>

#include "twingrad/gradcheck/gradcheck.h"
#include "twingrad/layers/activation.h"

using at::Tensor;

/// Mish, as torch::nn::Mish.
///
///   f(x)  = x t                            t = tanh(s),  s = log(1 + exp(x))
///   f′(x) = t + x (1 − t²) σ(x)            because ds/dx = σ(x) = 1 / (1 + exp(−x))
///
/// Source: Misra, Mish: a self regularized non-monotonic activation function (2019).
class Mish : public twingrad::nn::Activation {
 protected:
  void value(Tensor& y, const Tensor& x) const override { at::mul_out(y, x, inner(x)); }

  void derivative(Tensor& dy_dx, const Tensor& x, const Tensor& /*y*/) const override {
    const Tensor t = inner(x);
    at::add_out(dy_dx, t, x * (1 - t * t) * x.sigmoid());
  }

  static Tensor inner(const Tensor& x) { return x.exp().log1p().tanh(); }
};

/// The mistake that we would make: the second term of the product rule is missing.
class WrongMish final : public Mish {
 protected:
  void derivative(Tensor& dy_dx, const Tensor& x, const Tensor& /*y*/) const override {
    dy_dx.copy_(inner(x));
  }
};

twingrad::GradcheckResult check(twingrad::nn::Layer& layer) {
  at::manual_seed(1);
  return twingrad::check_backward(
      [&](const std::vector<Tensor>& in) { return std::vector<Tensor>{layer.forward(in[0])}; },
      [&](const std::vector<Tensor>& /*in*/, const std::vector<Tensor>& /*out*/,
          const std::vector<Tensor>& grad_y) { return std::vector<Tensor>{layer.backward(grad_y[0])}; },
      {at::randn({4, 3}, at::kDouble)}, {.input_names = {"x"}, .output_names = {"y"}});
}

int main() {
  Mish right;
  WrongMish wrong;
  const twingrad::GradcheckResult passed = check(right);
  const twingrad::GradcheckResult failed = check(wrong);
  std::cout << passed.to_string() << '\n' << failed.to_string(3);
  return passed && !failed ? 0 : 1;
}
