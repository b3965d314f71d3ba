// The same network twice: with torch::nn, autograd and torch::optim::Adam, and by hand. Both start from the
// same weights and take two steps on the same batch. Every gradient and every updated weight is compared.
//
//   a = x W1ᵀ + b1      h = max(a, 0)      z = h W2ᵀ + b2      L = −1/N Σ_n log softmax(z[n])[t[n]]
//
//   x [N, 784], t [N], a and h [N, 128], z [N, 10]; W1 [128, 784], b1 [128], W2 [10, 128], b2 [10]
//
// Exit status: 0 if all tensors agree, 1 otherwise.
#include <c10/util/StringUtil.h>
#include <torch/nn/functional/loss.h>
#include <torch/nn/modules/linear.h>
#include <torch/optim/adam.h>
#include <twingrad/compare/difference.h>
#include <twingrad/layers/linear.h>
#include <twingrad/layers/relu.h>
#include <twingrad/losses/cross_entropy_loss.h>

#include <cmath>
#include <cstdio>

using at::Tensor;

/// A parameter of the hand-written network, with Adam's running means of its gradient and squared gradient.
struct Weight {
  explicit Weight(const Tensor& initial) : parameter{initial.detach().clone(), at::zeros_like(initial)} {}

  /// Step t = 1, 2, … of Adam with the defaults of torch::optim: α = 1e-3, β₁ = 0.9, β₂ = 0.999, ε = 1e-8.
  void adam_step(int t) {
    const Tensor& g = parameter.grad;
    m = 0.9 * m + (1 - 0.9) * g;                              // m ← β₁ m + (1 − β₁) g
    v = 0.999 * v + (1 - 0.999) * g * g;                      // v ← β₂ v + (1 − β₂) g²
    const Tensor m_hat = m / (1 - std::pow(0.9, t));          // m̂ = m / (1 − β₁ᵗ)
    const Tensor v_hat = v / (1 - std::pow(0.999, t));        // v̂ = v / (1 − β₂ᵗ)
    parameter.value -= 1e-3 * m_hat / (v_hat.sqrt() + 1e-8);  // w ← w − α m̂ / (√v̂ + ε)
  }

  twingrad::nn::Parameter parameter;
  Tensor m = at::zeros_like(parameter.value), v = at::zeros_like(parameter.value);
};

/// Prints the largest entry of both tensors and their largest difference. In float64, rounding errors are
/// below 1e-12 of the largest entry; a mistake is far larger. A NaN never agrees.
bool compare(const char* name, const Tensor& autograd, const Tensor& by_hand) {
  const twingrad::Difference difference = twingrad::difference(autograd, by_hand);
  const bool agrees = difference.relative <= 1e-10;
  std::printf("%-8s %-10s %9.1e %9.1e %12.1e%s\n", name, c10::str(autograd.sizes()).c_str(),
              autograd.abs().max().item<double>(), by_hand.abs().max().item<double>(), difference.absolute,
              agrees ? "" : "  DIFFERS");
  return agrees;
}

int main() {
  at::manual_seed(1);
  const Tensor x = at::rand({64, 784}, at::kDouble), t = at::randint(10, {64}, at::kLong);

  torch::nn::Linear first(784, 128), last(128, 10);
  first->to(at::kDouble);
  last->to(at::kDouble);
  torch::optim::Adam adam({first->weight, first->bias, last->weight, last->bias});

  Weight w1(first->weight), b1(first->bias), w2(last->weight), b2(last->bias);
  twingrad::nn::Linear first_by_hand(w1.parameter, b1.parameter, twingrad::nn::InputGradient::skip);
  twingrad::nn::ReLU relu;
  twingrad::nn::Linear last_by_hand(w2.parameter, b2.parameter);
  twingrad::nn::CrossEntropyLoss cross_entropy;

  bool agree = true;
  for (int step = 1; step <= 2; ++step) {
    // Autograd records the forward pass and computes all derivatives from the record.
    adam.zero_grad();
    const Tensor a = first(x), h = at::relu(a), z = last(h);
    for (const Tensor& result : {a, h, z}) result.retain_grad();  // by default, only weights keep theirs
    const Tensor loss = torch::nn::functional::cross_entropy(z, t);
    loss.backward();

    // By hand, each layer computes its own derivatives:
    //   ∂L/∂z  = (softmax(z) − [k = t]) / N
    //   ∂L/∂W2 = (∂L/∂z)ᵀ h     ∂L/∂b2 = Σ_n ∂L/∂z     ∂L/∂h = ∂L/∂z W2
    //   ∂L/∂a  = ∂L/∂h · [a > 0]
    //   ∂L/∂W1 = (∂L/∂a)ᵀ x     ∂L/∂b1 = Σ_n ∂L/∂a
    const Tensor z_by_hand = last_by_hand.forward(relu.forward(first_by_hand.forward(x)));
    const Tensor loss_by_hand = cross_entropy.forward(z_by_hand, t);
    const Tensor grad_z = cross_entropy.backward();
    const Tensor grad_h = last_by_hand.backward(grad_z);
    const Tensor grad_a = relu.backward(grad_h);
    first_by_hand.backward(grad_a);

    std::printf("step %d   shape       autograd   by hand   difference\n", step);
    agree &= compare("loss", loss, loss_by_hand);
    agree &= compare("z.grad", z.grad(), grad_z);
    agree &= compare("W2.grad", last->weight.grad(), w2.parameter.grad);
    agree &= compare("b2.grad", last->bias.grad(), b2.parameter.grad);
    agree &= compare("h.grad", h.grad(), grad_h);
    agree &= compare("a.grad", a.grad(), grad_a);
    agree &= compare("W1.grad", first->weight.grad(), w1.parameter.grad);
    agree &= compare("b1.grad", first->bias.grad(), b1.parameter.grad);

    adam.step();
    for (Weight* weight : {&w1, &b1, &w2, &b2}) weight->adam_step(step);
    agree &= compare("W1", first->weight, w1.parameter.value);
    agree &= compare("b1", first->bias, b1.parameter.value);
    agree &= compare("W2", last->weight, w2.parameter.value);
    agree &= compare("b2", last->bias, b2.parameter.value);
  }
  std::puts(agree ? "all tensors agree" : "SOME TENSORS DIFFER");
  return agree ? 0 : 1;
}
