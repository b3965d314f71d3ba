// What the gradient checker says at a kink and about a float32 function. The argument selects one of them.
// docs/checking-gradients.md shows the outputs.

#include <ATen/ATen.h>

#include <iostream>
#include <string>

#include "twingrad/gradcheck/gradcheck.h"

using at::Tensor;
using Tensors = std::vector<Tensor>;

Tensor input(const Tensor& values) { return values.clone().requires_grad_(); }

/// ReLU with one input at its kink.
twingrad::GradcheckResult check_kink(twingrad::GradcheckKinks kinks) {
  return twingrad::gradcheck([](const Tensors& in) { return Tensors{at::relu(in[0])}; },
                             {input(at::tensor({-0.5, 0.0, 0.5}))},
                             {.kinks = kinks, .input_names = {"x"}, .output_names = {"y"}});
}

/// A correct float32 function, with differences in float32 or in float64.
twingrad::GradcheckResult check_float32(bool in_float64) {
  return twingrad::gradcheck(
      [](const Tensors& in) { return Tensors{at::tanh(in[0])}; }, {input(at::tensor({-0.5F, 0.1F, 0.9F}))},
      {.numerical_in_float64 = in_float64, .input_names = {"x"}, .output_names = {"y"}});
}

int main(int /*argc*/, char** argv) {
  const std::string what = argv[1];
  if (what == "kink") {
    std::cout << check_kink(twingrad::GradcheckKinks::fail).to_string();
  } else if (what == "kink-reported") {
    std::cout << check_kink(twingrad::GradcheckKinks::report).to_string();
  } else if (what == "float32") {
    std::cout << check_float32(false).to_string();
  } else {
    std::cout << check_float32(true).to_string();
  }
}
