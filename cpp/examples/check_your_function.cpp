// Checks a torch::autograd::Function with twingrad::gradcheck, once as it should be and once with a mistake
// that training does not reveal. gradcheck compares the gradients with central differences of the forward
// pass.
//
// The function adds a bias to every row and applies the Gaussian error linear unit:
//
//   z = x + b               x, z, y [N, D]; b [D]
//   y = z Φ(z)              Φ(z) = (1 + erf(z/√2)) / 2      φ(z) = Φ′(z) = exp(−z²/2) / √(2π)
//
//   ∂L/∂x = ∂L/∂y · (Φ(z) + z φ(z))
//   ∂L/∂b = Σ_n ∂L/∂x[n,:]
//
// Exit status: 0 if the right function passes and the wrong one is rejected, 1 otherwise.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <twingrad/gradcheck/gradcheck.h>

#include <cmath>
#include <iostream>
#include <numbers>

using at::Tensor;
using Tensors = std::vector<Tensor>;
using torch::autograd::AutogradContext;

struct BiasGelu : torch::autograd::Function<BiasGelu> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& b) {
    const Tensor z = x + b;
    context->save_for_backward({z});
    return z * (1 + at::erf(z / std::numbers::sqrt2)) / 2;
  }

  static Tensors backward(AutogradContext* context, const Tensors& grad_outputs) {
    const Tensor z = context->get_saved_variables()[0];
    const Tensor cdf = (1 + at::erf(z / std::numbers::sqrt2)) / 2;                 // Φ(z)
    const Tensor density = at::exp(-z * z / 2) / std::sqrt(2 * std::numbers::pi);  // φ(z)
    const Tensor grad_x = grad_outputs[0] * (cdf + z * density);
    return {grad_x, grad_x.sum(0)};
  }
};

/// The mistake: the bias gets the mean over the rows instead of the sum. The direction is right, so a network
/// still learns, only slowly.
struct WrongBiasGelu : torch::autograd::Function<WrongBiasGelu> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& b) {
    return BiasGelu::forward(context, x, b);
  }

  static Tensors backward(AutogradContext* context, const Tensors& grad_outputs) {
    const Tensor grad_x = BiasGelu::backward(context, grad_outputs)[0];
    return {grad_x, grad_x.mean(0)};
  }
};

/// Prints the result for random inputs in float64. Distinct sizes reveal transpositions, and random values
/// missing factors.
template <typename Function>
bool check(const char* name) {
  at::manual_seed(1);
  const Tensor x = at::randn({4, 3}, at::kDouble).requires_grad_();
  const Tensor b = at::randn({3}, at::kDouble).requires_grad_();
  const auto function = [](const Tensors& inputs) -> Tensors {
    return {Function::apply(inputs[0], inputs[1])};
  };
  const twingrad::GradcheckResult result =
      twingrad::gradcheck(function, {x, b}, {.input_names = {"x", "b"}, .output_names = {"y"}});
  std::cout << name << '\n' << result.to_string(3) << '\n';
  return result.passed;
}

int main() {
  const bool right = check<BiasGelu>("BiasGelu");
  const bool wrong = check<WrongBiasGelu>("WrongBiasGelu");
  const bool as_expected = right && !wrong;
  std::cout << (as_expected ? "the right function passes, the wrong one fails\n" : "NOT AS EXPECTED\n");
  return as_expected ? 0 : 1;
}
