// A user's program: it runs a layer of twingrad::twingrad and checks its gradient.
#include <ATen/ATen.h>
#include <twingrad/gradcheck/gradcheck.h>
#include <twingrad/layers/relu.h>

#include <iostream>

int main() {
  using Tensors = std::vector<at::Tensor>;
  twingrad::nn::ReLU relu;
  const twingrad::GradcheckResult result = twingrad::check_backward(
      [&](const Tensors& in) -> Tensors { return {relu.forward(in[0])}; },
      [&](const Tensors&, const Tensors&, const Tensors& g) -> Tensors { return {relu.backward(g[0])}; },
      {at::linspace(-1, 1, 6, at::kDouble).view({2, 3})});
  std::cout << result.to_string();
  return result ? 0 : 1;
}
