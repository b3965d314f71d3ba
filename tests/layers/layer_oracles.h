#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "../oracles.h"
#include "twingrad/layers/layer.h"

namespace twingrad::testing {

using namespace nn;

inline Parameter parameter(at::IntArrayRef shape) {
  const Tensor value = torch::randn(shape, torch::kDouble);
  return {value, torch::full_like(value, NAN)};  // a gradient that nobody fills stays NaN and fails
}

/// Holds forward and backward of a layer against both oracles. f computes the same of {x, parameters…}.
inline void expect_matches_oracles(Layer& layer, const Function& f, const Tensor& x,
                                   const std::vector<Parameter>& parameters = {}) {
  Tensors inputs = {x};
  for (const Parameter& parameter : parameters) {
    inputs.push_back(parameter.value);
  }
  const Tensor expected = f(inputs);
  const Tensor y = layer.forward(x);
  EXPECT_LE(relative_error(expected, y), kAutogradBound) << "forward";
  const Tensor grad_y = torch::randn_like(expected);
  const Tensor grad_x = layer.backward(grad_y);
  const Tensors autograd = autograd_gradients(f, inputs, grad_y);
  const Tensors numeric = numeric_gradients(f, inputs, grad_y);
  EXPECT_LE(relative_error(autograd[0], grad_x), kAutogradBound) << "∂L/∂x against autograd";
  EXPECT_LE(relative_error(numeric[0], grad_x), kNumericBound) << "∂L/∂x against differences";
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_LE(relative_error(autograd[i + 1], parameters[i].grad), kAutogradBound) << "parameter " << i;
    EXPECT_LE(relative_error(numeric[i + 1], parameters[i].grad), kNumericBound) << "parameter " << i;
  }
}

inline Tensor random_input(std::int64_t rows, std::int64_t columns) {
  return torch::randn({rows, columns}, torch::kDouble) * 2;
}

}  // namespace twingrad::testing
