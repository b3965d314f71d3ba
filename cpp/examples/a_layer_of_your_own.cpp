// A layer that is not part of Twingrad: Swish with a learned β per column. A network with it is trained by
// hand, in lockstep with the same network as a LibTorch expression that autograd differentiates. After each
// step, all gradients and all weights are compared.
//
//   a = x W1ᵀ + b1      h = a σ(βa)      z = h W2ᵀ + b2      L = −1/N Σ_n log softmax(z[n])[t[n]]
//
//   x [N, 4], t [N], a and h [N, 8], z [N, 3]
//
// Exit status: 0 if the two networks agree at every step, 1 otherwise.
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <twingrad/compare/distance.h>
#include <twingrad/layers/linear.h>
#include <twingrad/losses/cross_entropy_loss.h>

#include <cstdio>
#include <utility>
#include <vector>

namespace nn = twingrad::nn;
using at::Tensor;

/// Swish with a learned β.
///
///   y      = x σ(βx)                                       σ(u)  = 1 / (1 + exp(−u))
///   ∂L/∂x  = ∂L/∂y · (σ(βx) + βx σ′(βx))                   σ′(u) = σ(u) (1 − σ(u))
///   ∂L/∂β  = Σ_n ∂L/∂y · x² σ′(βx)                         column d of every row uses β[d]
///
/// x, y [N, D], β [D]. Source: Ramachandran, Zoph, Le, Searching for activation functions (2017).
class Swish final : public nn::Layer {
 public:
  explicit Swish(nn::Parameter beta) : beta_(std::move(beta)) {}

  Tensor forward(const Tensor& x) override {
    x_ = x;
    sigmoid_ = at::sigmoid(beta_.value * x);
    return x * sigmoid_;
  }

  Tensor backward(const Tensor& grad_y) override {
    const Tensor slope = sigmoid_ * (1 - sigmoid_);  // σ′(βx)
    at::sum_out(beta_.grad, grad_y * x_ * x_ * slope, 0);
    return grad_y * (sigmoid_ + beta_.value * x_ * slope);
  }

 private:
  nn::Parameter beta_;
  Tensor x_, sigmoid_;
};

/// The loss of the same network, for autograd. w: W1, b1, β, W2, b2.
Tensor reference_loss(const std::vector<Tensor>& w, const Tensor& x, const Tensor& t) {
  const Tensor a = at::linear(x, w[0], w[1]);
  return at::cross_entropy_loss(at::linear(a * at::sigmoid(w[2] * a), w[3], w[4]), t);
}

std::vector<twingrad::NamedTensor> named(const std::vector<Tensor>& w) {
  return {{"W1", w[0]}, {"b1", w[1]}, {"beta", w[2]}, {"W2", w[3]}, {"b2", w[4]}};
}

int main() {
  at::manual_seed(1);
  const Tensor x = at::randn({64, 4}, at::kDouble);
  const Tensor t = at::mm(x, at::randn({4, 3}, at::kDouble)).argmax(1);  // classes that can be learned
  const std::vector<Tensor> weights = {at::randn({8, 4}, at::kDouble) / 2, at::zeros({8}, at::kDouble),
                                       at::ones({8}, at::kDouble), at::randn({3, 8}, at::kDouble) / 3,
                                       at::zeros({3}, at::kDouble)};
  std::vector<Tensor> values, gradients;  // of the network by hand
  for (const Tensor& weight : weights) {
    values.push_back(weight.clone());
    gradients.push_back(at::zeros_like(weight));
    weight.requires_grad_();
  }
  const auto parameter = [&](std::size_t i) { return nn::Parameter{values[i], gradients[i]}; };
  nn::Linear first(parameter(0), parameter(1), nn::InputGradient::skip), last(parameter(3), parameter(4));
  Swish swish(parameter(2));
  nn::CrossEntropyLoss cross_entropy;

  std::puts("largest relative differences\nstep    loss   gradients   worst    weights   worst");
  for (int step = 1; step <= 200; ++step) {
    const Tensor expected_loss = reference_loss(weights, x, t);
    const std::vector<Tensor> expected = torch::autograd::grad({expected_loss}, weights);

    const Tensor loss = cross_entropy.forward(last.forward(swish.forward(first.forward(x))), t);
    first.backward(swish.backward(last.backward(cross_entropy.backward())));

    const c10::NoGradGuard no_grad;
    const auto gradient = twingrad::largest_difference(named(expected), named(gradients));
    for (std::size_t i = 0; i < weights.size(); ++i) {  // gradient descent, w ← w − α ∂L/∂w
      weights[i].sub_(0.5 * expected[i]);
      values[i].sub_(0.5 * gradients[i]);
    }
    const auto weight = twingrad::largest_difference(named(weights), named(values));

    // In float64, rounding errors are about 1e-16 of the largest entry, and 1e-13 once gradients are small.
    const bool agree = gradient.relative <= 1e-10 && weight.relative <= 1e-10;
    if (step == 1 || step % 50 == 0 || !agree) {
      std::printf("%4d %7.4f %11.1e %7s %10.1e %7s\n", step, loss.item<double>(), gradient.relative,
                  gradient.worst.c_str(), weight.relative, weight.worst.c_str());
    }
    if (!agree) {
      std::puts("THE NETWORKS DIFFER");
      return 1;
    }
  }
  std::puts("the networks agree at all 200 steps");
}
