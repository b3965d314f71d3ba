#pragma once

#include <torch/torch.h>

#include <functional>
#include <vector>

#include "twingrad/compare/agreement.h"

namespace twingrad::testing {

using at::Tensor;
using Tensors = std::vector<Tensor>;

/// A function of several tensors, in operations that autograd knows.
using Function = std::function<Tensor(const Tensors&)>;

/// Oracle one: autograd's gradient of Σ grad_y · f(inputs), one tensor an input.
inline Tensors autograd_gradients(const Function& f, const Tensors& inputs, const Tensor& grad_y) {
  Tensors leaves;
  for (const Tensor& input : inputs) {
    leaves.push_back(input.detach().clone().requires_grad_());
  }
  return torch::autograd::grad({f(leaves)}, leaves, {grad_y});
}

/// Oracle two: the same by central differences. In float64 with h = 1e-6 the truncation error is of the order
/// of h² = 1e-12 and the rounding error ε|L|/h = 1e-10 |L|.
inline Tensors numeric_gradients(const Function& f, const Tensors& inputs, const Tensor& grad_y) {
  constexpr double kStep = 1e-6;
  const torch::NoGradGuard no_grad;
  Tensors moved;
  for (const Tensor& input : inputs) {
    moved.push_back(input.detach().clone().contiguous());
  }
  Tensors gradients;
  for (Tensor& input : moved) {
    Tensor gradient = torch::zeros_like(input);
    auto* x = input.data_ptr<double>();
    for (std::int64_t i = 0; i < input.numel(); ++i) {
      const double old = x[i];
      const auto loss_at = [&](double value) {
        x[i] = value;
        return (f(moved) * grad_y).sum().item<double>();
      };
      // old ± h is rounded, at |old| = 1e4 by a millionth of h: divide by the distance that was really
      // walked.
      const double right = old + kStep;
      const double left = old - kStep;
      gradient.view(-1)[i] = (loss_at(right) - loss_at(left)) / (right - left);
      x[i] = old;
    }
    gradients.push_back(gradient);
  }
  return gradients;
}

/// Bound against autograd in float64. Both evaluate the same formula in some ten roundings of 1e-16 each, in
/// another order; 1e-13 leaves two orders for sums over a batch.
constexpr double kAutogradBound = 1e-13;
/// Bound against central differences: rounding of 1e-10 |L| with |L| up to 100 here.
constexpr double kNumericBound = 1e-7;

inline double relative_error(const Tensor& expected, const Tensor& actual) {
  return difference(expected, actual).relative;
}

}  // namespace twingrad::testing
