// Computes every number of docs/chain-rule.md with the layers, the loss and the optimizer of the library. It
// prints them as JSON: {"W1": [[0.5, -0.4], …], "loss": 0.54…}. script/docs --check compares the page with
// them.

#include <ATen/ATen.h>

#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>

#include "twingrad/layers/linear.h"
#include "twingrad/layers/relu.h"
#include "twingrad/layers/softmax.h"
#include "twingrad/losses/cross_entropy_loss.h"
#include "twingrad/optim/adam.h"

namespace {

using namespace twingrad;
using at::Tensor;
using Json = nlohmann::ordered_json;

/// A 2-3-2 network. All parameters are views into one flat vector, and all gradients into another.
struct Network {
  Tensor weights = at::tensor({0.5, -0.4, -0.3, 0.2, 0.1, 0.6,  // W1 [3, 2]
                               0.1, 0.0, -0.2,                  // b1 [3]
                               0.6, -0.2, 0.3, -0.5, 0.4, 0.1,  // W2 [2, 3]
                               0.1, -0.1});                     // b2 [2]
  Tensor gradients = at::zeros_like(weights);

  nn::Parameter W1 = part(0, {3, 2}), b1 = part(6, {3}), W2 = part(9, {2, 3}), b2 = part(15, {2});
  nn::Linear first{W1, b1}, second{W2, b2};
  nn::ReLU relu;
  nn::CrossEntropyLoss cross_entropy;

  Tensor x = at::tensor({1.0, 0.5, -1.0, 2.0}).view({2, 2});  // two samples, one per row
  Tensor t = at::tensor({0, 1}, at::kLong);                   // their classes

  Tensor z1, h, logits, loss;
  Tensor grad_logits, grad_h, grad_z1, grad_x;

  void forward() {
    z1 = first.forward(x);
    h = relu.forward(z1);
    logits = second.forward(h);
    loss = cross_entropy.forward(logits, t);
  }

  void backward() {
    grad_logits = cross_entropy.backward();
    grad_h = second.backward(grad_logits);
    grad_z1 = relu.backward(grad_h);
    grad_x = first.backward(grad_z1);
  }

  nn::Parameter part(std::int64_t offset, at::IntArrayRef shape) {
    const std::int64_t size = c10::multiply_integers(shape);
    return {weights.narrow(0, offset, size).view(shape), gradients.narrow(0, offset, size).view(shape)};
  }
};

Json to_json(const Tensor& tensor) {
  if (tensor.dim() == 0) {
    return tensor.item<double>();
  }
  Json rows = Json::array();
  for (const Tensor& row : tensor.unbind()) {
    rows.push_back(to_json(row));
  }
  return rows;
}

void add_parameters(Json& values, const std::string& prefix, const Network& network) {
  values[prefix + "W1"] = to_json(network.W1.value);
  values[prefix + "b1"] = to_json(network.b1.value);
  values[prefix + "W2"] = to_json(network.W2.value);
  values[prefix + "b2"] = to_json(network.b2.value);
}

void add_gradients(Json& values, const Network& network) {
  values["grad_logits"] = to_json(network.grad_logits);
  values["grad_W2"] = to_json(network.W2.grad);
  values["grad_b2"] = to_json(network.b2.grad);
  values["grad_h"] = to_json(network.grad_h);
  values["grad_z1"] = to_json(network.grad_z1);
  values["grad_W1"] = to_json(network.W1.grad);
  values["grad_b1"] = to_json(network.b1.grad);
  values["grad_x"] = to_json(network.grad_x);
}

/// The loss at W1[0, 0] ± h, and the central difference.
void add_difference(Json& values, Network& network, double step) {
  const double weight = network.W1.value[0][0].item<double>();
  const auto loss_at = [&](double value) {
    network.W1.value[0][0] = value;
    network.forward();
    return network.loss.item<double>();
  };
  const double above = loss_at(weight + step);
  const double below = loss_at(weight - step);
  values["loss_above"] = above;
  values["loss_below"] = below;
  values["difference"] = (above - below) / (2 * step);
  loss_at(weight);
}

/// Two steps of Adam, with the state of the weight W1[0, 0].
void add_steps(Json& values, Network& network) {
  const double lr = 0.1;
  optim::Adam adam({.lr = lr});
  values["w₀"] = network.weights[0].item<double>();
  for (const auto& [t, index] : {std::pair(1, "₁"), std::pair(2, "₂")}) {
    network.forward();
    network.backward();
    values[std::string("g") + index] = network.gradients[0].item<double>();
    adam.step(network.weights, network.gradients);
    const auto state = adam.state();
    const double m = (*state[0].value)[0].item<double>();
    const double v = (*state[1].value)[0].item<double>();
    values[std::string("m") + index] = m;
    values[std::string("v") + index] = v;
    values[std::string("m̂") + index] = m / (1 - std::pow(0.9, t));
    values[std::string("v̂") + index] = v / (1 - std::pow(0.999, t));
    values[std::string("w") + index] = network.weights[0].item<double>();
    network.forward();
    values[std::string("loss") + index] = network.loss.item<double>();
    add_parameters(values, t == 1 ? "first_" : "second_", network);
  }
}

}  // namespace

int main() {
  Network network;
  network.forward();
  Json values = {{"x", to_json(network.x)}};
  add_parameters(values, "", network);
  values["z1"] = to_json(network.z1);
  values["h"] = to_json(network.h);
  values["logits"] = to_json(network.logits);
  values["p"] = to_json(nn::Softmax().forward(network.logits));
  values["loss"] = to_json(network.loss);
  network.backward();
  add_gradients(values, network);
  add_difference(values, network, 1e-3);
  add_steps(values, network);
  std::cout << values.dump() << "\n";
}
